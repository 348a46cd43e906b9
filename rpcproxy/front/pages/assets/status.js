"use strict";
// Keeps the page up to date: the server draws it, this puts in what differs, node by node, so that
// focus, selection and a screen reader's place stay where they are.
(() => {
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const told = document.getElementById("told");
  let steady = main.querySelector("[data-steady]").dataset.steady;

  const say = (text, isOn) => {
    if (live.textContent !== text) live.textContent = text;
    live.classList.toggle("is-on", isOn);
  };

  const blend = (old, fresh) => {
    const news = [...fresh.childNodes];
    news.forEach((node, at) => {
      const was = old.childNodes[at];
      if (!was) {
        old.append(node);
      } else if (was.nodeType !== node.nodeType || was.nodeName !== node.nodeName) {
        was.replaceWith(node);
      } else if (node.nodeType !== Node.ELEMENT_NODE) {
        if (was.data !== node.data) was.data = node.data;
      } else {
        for (const { name } of [...was.attributes]) {
          if (!node.hasAttribute(name)) was.removeAttribute(name);
        }
        for (const { name, value } of [...node.attributes]) {
          if (was.getAttribute(name) !== value) was.setAttribute(name, value);
        }
        blend(was, node);
      }
    });
    while (old.childNodes.length > news.length) old.lastChild.remove();
  };

  // Beside the page, below whatever path a proxy in front puts it.
  const address = location.pathname.replace(/\/+$/, "") + "/events";
  let source;
  let again;

  const show = (event) => {
    const picture = JSON.parse(event.data);
    const fresh = document.createElement("template");
    fresh.innerHTML = picture.main;
    blend(main, fresh.content);
    document.title = picture.title;
    if (picture.steady !== steady) {
      steady = picture.steady;
      told.textContent = steady;
    }
    say("Live", true);
  };

  const connect = () => {
    source = new EventSource(address);
    source.onopen = () => say("Live", true);
    source.onmessage = show;
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) {
        say("Not connected, trying again", false);
        return;
      }
      // Refused, as where too many look: a browser does not ask again by itself.
      say("Not live, trying again", false);
      clearTimeout(again);
      again = setTimeout(connect, 10000 + 5000 * Math.random());
    };
  };
  connect();
  addEventListener("pagehide", () => {
    clearTimeout(again);
    source.close();
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
