// The line above a chart: the values of a bar, in words.
"use strict";

window.tellingValues = (shared, news) => {
  const { iso, clock, market } = shared;
  const values = document.getElementById("values");
  const number = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumFractionDigits: 8 }));
  const add = (label, text, tone) => {
    const part = document.createElement("span");
    part.append(label ? `${label} ` : "");
    const strong = document.createElement("b");
    strong.textContent = text;
    if (tone) strong.className = tone;
    part.append(strong);
    values.append(part);
  };
  return (bar, before, intraday, width) => {
    values.replaceChildren();
    if (!bar) {
      values.textContent = "No bars in this window";
      return;
    }
    const [time, open, high, low, close, volume] = bar;
    add("", `${iso(time).slice(0, intraday ? 16 : 10).replace("T", " ")} UTC`);
    if (clock && intraday) add("Market", market(time));
    add("Open", number(open));
    add("High", number(high));
    add("Low", number(low));
    add("Close", number(close), close >= open ? "good" : "bad");
    if (before && before[4]) {
      const change = (close / before[4] - 1) * 100;
      add("Change", `${change >= 0 ? "+" : "−"}${Math.abs(change).toFixed(2)} %`, change >= 0 ? "good" : "bad");
    }
    add("Volume", number(volume));
    const titles = news.of(time, time + width);
    if (titles.length) add("News", titles.slice(0, 2).join(" · ") + (titles.length > 2 ? " …" : ""));
  };
};
