"use strict";
// Keeps the page up to date: the server draws it, this puts in what differs, node by node, so that
// focus, selection and a screen reader's place stay where they are. Where nothing comes any more,
// the page says so, and since when: what it shows is of that time.
(() => {
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const told = document.getElementById("told");
  const icon = document.querySelector("link[rel=icon]");
  let steady = main.querySelector("[data-steady]").dataset.steady;

  // Without a word for so long, on a line that is broken or seems whole, nobody is taken to be
  // there: the proxy sends something every two seconds (front/wire/live.py).
  const BROKEN_MS = 3500;
  const SILENT_MS = 7000;
  const LOOK_MS = 500;
  const ASK_MS = 3000;

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

  // ---- is anybody there?

  let heardAt = Date.now();
  let isBroken = false;
  let lost = null; // the headline while nothing is heard

  const element = (name, text, of) => {
    const made = document.createElement(name);
    if (of) made.className = of;
    if (text) made.textContent = text;
    return made;
  };

  const lose = () => {
    const since = `${new Date(heardAt).toISOString().slice(11, 19)} UTC`;
    const words = `No word from the proxy since ${since}`;
    const mark = element("span", "✕", "mark");
    mark.setAttribute("aria-hidden", "true");
    const badge = element("p", "", "badge down");
    badge.append(mark, "Not heard");
    const why = `It was stopped, or the network in between is down. Then it was: ${steady}. `
      + "What is below is of that time, too. This page goes on by itself once the proxy is heard.";
    lost = element("div", "", "plight down");
    lost.id = "lost";
    lost.setAttribute("role", "region");
    lost.setAttribute("aria-label", "The proxy is not heard");
    lost.append(badge, element("h1", words), element("p", why, "whose"));
    main.before(lost);
    main.classList.add("is-old");
    document.title = words;
    icon.href = live.dataset.lost;
    told.textContent = words;
    say("Not connected, trying again", false);
  };

  const find = () => {
    if (!lost) return;
    lost.remove();
    lost = null;
    main.classList.remove("is-old");
    told.textContent = "The proxy is heard again";
  };

  const hear = () => {
    heardAt = Date.now();
    isBroken = false;
    say("Live", true);
  };

  // ---- what it tells

  // Beside the page, below whatever path a proxy in front puts it.
  const path = location.pathname.replace(/\/+$/, "");
  let source;
  let again;

  const show = (event) => {
    const picture = JSON.parse(event.data);
    const fresh = document.createElement("template");
    fresh.innerHTML = picture.main;
    blend(main, fresh.content);
    find();
    document.title = picture.title;
    icon.href = picture.icon;
    if (picture.steady !== steady) {
      steady = picture.steady;
      told.textContent = steady;
    }
    hear();
  };

  const connect = () => {
    source = new EventSource(path + "/events");
    source.onmessage = show;
    source.addEventListener("beat", hear);
    source.onerror = () => {
      isBroken = true;
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

  // Where it is not live, the proxy may be there all the same; once it is, a stream is tried.
  let askedAt = 0;
  const ask = async () => {
    if (Date.now() - askedAt < ASK_MS) return;
    askedAt = Date.now();
    try {
      const signal = AbortSignal.timeout(ASK_MS);
      const answer = await fetch(path + ".json", { method: "HEAD", cache: "no-store", signal });
      if (!answer.ok || source.readyState !== EventSource.CLOSED) return;
      heardAt = Date.now();
      if (!lost) return;
      clearTimeout(again);
      connect();
    } catch {
      // Nobody is there.
    }
  };

  const look = () => {
    if (source.readyState === EventSource.CLOSED) ask();
    if (!lost && Date.now() - heardAt > (isBroken ? BROKEN_MS : SILENT_MS)) lose();
  };

  connect();
  const looking = setInterval(look, LOOK_MS);
  // A page that was out of sight may have had no time to look.
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  addEventListener("pagehide", () => {
    clearTimeout(again);
    clearInterval(looking);
    source.close();
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
