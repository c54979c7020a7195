// Parts of a page that follow: by a stream of events, or by asking again where there is none.
"use strict";

// Follows an address of events. `take` gets what each part is, `ask` is called every few seconds while there is no
// stream: where a proxy cuts it, or as many pages are followed as can be. A page that is not looked at follows nothing.
window.follow = (url, take, ask, state) => {
  const silence = 25_000; // two signs of life are missed
  const poll = 3_000;
  const again = 60_000;
  let source = null;
  let watch = 0;
  let asking = 0;
  let retry = 0;
  let ended = false;

  const stop = () => {
    if (source) source.close();
    source = null;
    clearTimeout(watch);
    clearInterval(asking);
    clearTimeout(retry);
    asking = 0;
  };
  const askInstead = () => {
    stop();
    if (ended) return;
    state("asks");
    ask();
    asking = setInterval(ask, poll);
    retry = setTimeout(open, again);
  };
  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(askInstead, silence);
  };
  const open = () => {
    stop();
    if (ended || document.hidden) return;
    source = new EventSource(typeof url === "function" ? url() : url);
    heard();
    source.addEventListener("part", (event) => {
      heard();
      state("follows");
      take(event.data);
    });
    source.addEventListener("beat", heard);
    source.addEventListener("end", () => {
      ended = true;
      stop();
      state("ended");
    });
    // A stream that ends is opened again by the browser. One that is refused is not.
    source.addEventListener("error", () => {
      if (source && source.readyState === EventSource.CLOSED) askInstead();
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : open()));
  window.addEventListener("pagehide", stop);
  open();
  return {
    end: () => {
      ended = true;
      stop();
    },
  };
};

document.addEventListener("DOMContentLoaded", () => {
  for (const place of document.querySelectorAll("[data-follow]")) {
    const take = (text) => window.htmx.swap(place, text, { swapStyle: "innerHTML" });
    const ask = () => window.htmx.ajax("GET", place.dataset.ask, { target: place, swap: "innerHTML", headers: { "X-Unattended": "1" } });
    window.follow(place.dataset.follow, take, ask, (name) => {
      place.dataset.state = name;
    });
  }
});
