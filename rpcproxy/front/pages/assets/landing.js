"use strict";
(() => {
  const main = document.getElementById("main");

  // The URLs as this browser reaches them: through TLS or below a path that the proxy knows nothing
  // of.
  const here = main.dataset.here.replace(/\/+$/, "");
  const path = location.pathname.replace(/\/+$/, "");
  const prefix = path.endsWith(here) ? path.slice(0, path.length - here.length) : "";
  const urlOf = (own) => location.origin + prefix + own;
  for (const place of document.querySelectorAll("[data-path]:not(.wallets)")) {
    place.textContent = urlOf(place.dataset.path);
  }
  const statusLink = document.getElementById("status");
  if (statusLink) statusLink.href = prefix + statusLink.getAttribute("href");

  const sections = [...document.querySelectorAll(".network")];
  const outcomeOf = (section) => section.querySelector(".outcome");
  const say = (section, text) => { outcomeOf(section).textContent = text; };
  const NO_WALLET = "No wallet was found in this browser. Copy the URL into your wallet’s network settings.";

  for (const section of sections) {
    const copy = section.querySelector(".copy");
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      const url = section.querySelector(".url");
      try {
        await navigator.clipboard.writeText(url.textContent);
        say(section, "Copied.");
      } catch {
        getSelection().selectAllChildren(url);
        say(section, "Selected: press Ctrl+C or ⌘C to copy.");
      }
    });
  }

  const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const failed = (name, error) => {
    const code = error && error.code;
    const words = error && typeof error.message === "string" ? error.message.slice(0, 300) : "";
    if (code === 4001) return `Not added: it was declined in ${name}.`;
    if (code === -32002) return `${name} has a question open already: look at its window.`;
    if (code === -32601 || code === 4200) {
      return `${name} cannot be asked to add networks: copy the URL into its settings.`;
    }
    const hint = location.protocol === "https:" || isLocal ? "" : " Wallets take https URLs, or this machine's own.";
    return `Not added. ${name} says: ${words || "nothing more"}.${hint}`.replace("..", ".");
  };

  const add = async (section, button, name, provider) => {
    const place = section.querySelector(".wallets");
    const asked = JSON.parse(place.dataset.add);
    asked.rpcUrls = [urlOf(place.dataset.path)];
    button.disabled = true;
    say(section, `Look at ${name}: it asks whether to add the network.`);
    try {
      await provider.request({ method: "wallet_addEthereumChain", params: [asked] });
      say(section, `Added: ${name} now knows ${asked.chainName} at this URL.`);
    } catch (error) {
      say(section, failed(name, error));
    } finally {
      button.disabled = false;
    }
  };

  const offer = (name, icon, provider) => {
    for (const section of sections) {
      const button = document.createElement("button");
      button.type = "button";
      if (typeof icon === "string" && /^data:image\/(svg\+xml|png|webp|gif|jpeg)[;,]/.test(icon)) {
        const image = document.createElement("img");
        image.src = icon;
        image.alt = "";
        button.append(image);
      }
      button.append(`Add to ${name}`);
      button.addEventListener("click", () => add(section, button, name, provider));
      section.querySelector(".wallets").append(button);
      if (outcomeOf(section).textContent === NO_WALLET) say(section, "");
    }
  };

  // EIP-6963: every wallet announces itself, those that start late too.
  const known = new Set();
  const MOST_WALLETS = 12;
  addEventListener("eip6963:announceProvider", (event) => {
    const { info, provider } = event.detail || {};
    if (!info || !provider || known.has(info.uuid) || known.size >= MOST_WALLETS) return;
    known.add(info.uuid);
    offer(String(info.name || "wallet").slice(0, 40), info.icon, provider);
  });
  dispatchEvent(new Event("eip6963:requestProvider"));

  // How the networks stand, as it is now: what was so when the page was opened is of little use.
  const standings = () => [...document.querySelectorAll(".standing")];
  const LOOK_MS = 5000;
  let heardAt = Date.now();
  const renew = async () => {
    if (document.hidden) return;
    try {
      const signal = AbortSignal.timeout(LOOK_MS - 1000);
      const headers = { Accept: "text/html" };
      const answer = await fetch(location.pathname, { headers, cache: "no-store", signal });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      heardAt = Date.now();
      for (const place of standings()) {
        const news = fresh.getElementById(place.id);
        if (news && place.outerHTML !== news.outerHTML) place.replaceWith(news);
      }
    } catch {
      const since = new Date(heardAt).toISOString().slice(11, 19);
      for (const place of standings()) {
        const mark = place.querySelector(".mark");
        mark.className = "mark down";
        mark.textContent = "✕";
        place.replaceChildren(mark, `No word from the proxy since ${since} UTC`);
      }
    }
  };
  if (standings().length) {
    setInterval(renew, LOOK_MS);
    document.addEventListener("visibilitychange", renew);
  }

  // One that knows nothing of EIP-6963, or none at all.
  setTimeout(() => {
    if (known.size > 0) return;
    if (window.ethereum && typeof window.ethereum.request === "function") {
      known.add("window.ethereum");
      offer(window.ethereum.isMetaMask ? "MetaMask" : "wallet", null, window.ethereum);
      return;
    }
    for (const section of sections) {
      // What was done meanwhile stays said.
      if (!outcomeOf(section).textContent) say(section, NO_WALLET);
    }
  }, 400);
})();
