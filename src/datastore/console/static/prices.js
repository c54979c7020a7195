// The newest prices of the series that are listed, as they change.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("found");
  if (!place || !place.dataset.prices) return;
  const query = () => {
    const ids = [...place.querySelectorAll("[data-series]")].map((row) => ["id", row.dataset.series]);
    return new URLSearchParams(ids);
  };
  const age = (iso) => {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1000));
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    return null; // what is so old is as the server has written it
  };
  const put = (cell, text, title) => {
    if (!cell || text === null) return false;
    const shown = cell.querySelector("time") || cell;
    if (title) shown.title = title;
    if (shown.textContent.trim() === text) return false;
    shown.textContent = text;
    return true;
  };
  const take = (text) => {
    for (const each of JSON.parse(text)) {
      const row = place.querySelector(`[data-series="${each.id}"]`);
      if (!row) continue;
      const title = each.market || each.iso;
      const changed = put(row.querySelector("[data-price]"), each.price);
      put(row.querySelector("[data-when]"), each.time, title);
      put(row.querySelector("[data-ago]"), age(each.iso), title);
      if (changed) {
        row.classList.remove("changed");
        void row.offsetWidth; // begins the animation again
        row.classList.add("changed");
      }
    }
  };
  const ask = async () => {
    const answer = await fetch(`${place.dataset.prices}?${query()}`, { headers: { "X-Unattended": "1", "HX-Request": "true" } });
    if (answer.ok && answer.status === 200) take(await answer.text());
  };
  let following = null;
  const start = () => {
    if (following) following.end();
    following = null;
    if (query().size === 0) return;
    following = window.follow(() => `${place.dataset.prices}/events?${query()}`, take, ask, (name) => {
      place.dataset.state = name;
    });
  };
  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target === place) start();
  });
  start();
});
