// What a chart shows beside its candles: other series as lines, and news as markers.
"use strict";

// Lines of other series, in percent of where the view begins. `shared` has the chart, its data, and how bars are loaded.
window.comparing = (shared) => {
  const { chart, data, fetchJson, lastOf, iso, changed } = shared;
  const colors = ["series-2", "series-3", "series-4", "accent"];
  const list = document.getElementById("compared");
  const form = document.getElementById("compare");
  const found = document.getElementById("found-series");
  const input = form.querySelector("input");
  const lines = new Map(); // id -> { name, series, color, missing }
  const known = new Map(); // what can be chosen: name -> id
  const most = Number(data.compared);
  const color = (line) => getComputedStyle(document.documentElement).getPropertyValue(`--${line.color}`).trim();

  const tell = () => {
    list.replaceChildren();
    for (const [id, line] of lines) {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = `swatch line-${line.color}`;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "small";
      button.textContent = "Remove";
      button.setAttribute("aria-label", `Remove ${line.name}`);
      button.addEventListener("click", () => remove(id));
      item.append(swatch, line.missing ? `${line.name} (no bars of this timeframe) ` : `${line.name} `, button);
      list.append(item);
    }
    input.disabled = lines.size >= most;
  };

  const fill = async (line, id, name, range) => {
    const url = data.bars.replace(/\d+\/bars$/, `${id}/bars`);
    const answer = await fetchJson(url, { timeframe: name, start: iso(range[0]), end: iso(range[1]) }).catch(() => null);
    if (lines.get(id) !== line) return;
    line.missing = !answer || !answer.bars.length;
    line.series.setData(answer ? answer.bars.filter((bar) => bar[4] !== null).map((bar) => ({ time: bar[0], value: bar[4] })) : []);
  };
  const load = async (name, range) => {
    await Promise.all([...lines].map(([id, line]) => fill(line, id, name, range)));
    tell();
  };
  const add = async (id, name) => {
    if (lines.has(id) || lines.size >= most) return;
    const used = [...lines.values()].map((line) => line.color);
    const line = { name, color: colors.find((each) => !used.includes(each)), missing: false };
    line.series = chart.addSeries(LightweightCharts.LineSeries, { lineWidth: 2, priceLineVisible: false, title: name.split(" ")[0] });
    line.series.applyOptions({ color: color(line) });
    lines.set(id, line);
    chart.priceScale("right").applyOptions({ mode: 2 }); // percent
  };
  const remove = (id) => {
    chart.removeSeries(lines.get(id).series);
    lines.delete(id);
    if (!lines.size) chart.priceScale("right").applyOptions({ mode: 0 });
    tell();
    changed();
  };

  let timer = 0;
  const fetchOthers = lastOf(data.others);
  const look = async () => {
    const answer = await fetchOthers({ q: input.value });
    if (!answer) return;
    found.replaceChildren();
    for (const [id, name] of answer.others) {
      known.set(name, String(id));
      const option = document.createElement("option");
      option.value = name;
      found.append(option);
    }
  };
  const choose = async () => {
    clearTimeout(timer);
    if (!known.has(input.value)) await look();
    const name = known.has(input.value) ? input.value : (found.firstElementChild || {}).value;
    if (!name) return;
    input.value = "";
    await add(known.get(name), name);
    changed();
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, 200);
  });
  input.addEventListener("focus", look);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    choose();
  });
  for (const [id, name] of JSON.parse(data.beside)) add(String(id), name);
  tell();
  return {
    load,
    ids: () => [...lines.keys()],
    paint: () => [...lines.values()].forEach((line) => line.series.applyOptions({ color: color(line) })),
  };
};

// News of what is in view: a marker above the bar, and the headline in the list below the chart.
window.showingNews = (shared) => {
  const { data, lastOf, iso, candles, at } = shared;
  const markers = LightweightCharts.createSeriesMarkers(candles, []);
  const list = document.getElementById("news");
  const head = document.getElementById("news-note");
  let news = [];
  const paint = () => {
    const color = getComputedStyle(document.documentElement).getPropertyValue("--accent").trim();
    const bars = new Map();
    for (const each of news) {
      const time = at(each[0]);
      if (time !== null) bars.set(time, (bars.get(time) || 0) + 1);
    }
    markers.setMarkers([...bars].sort((a, b) => a[0] - b[0]).map(([time, count]) => ({
      time, position: "aboveBar", shape: "circle", color, text: count > 1 ? `${count} news` : "news",
    })));
  };
  const fetchNews = lastOf(data.news);
  const load = async (range) => {
    const answer = await fetchNews({ start: iso(range.from), end: iso(range.to + 1) });
    if (!answer) return;
    news = answer.news;
    head.textContent = news.length ? `${news.length}${answer.more ? " of more" : ""} in view` : "None in view";
    list.replaceChildren();
    for (const [time, title, vendor] of news.slice(-20).reverse()) {
      const row = document.createElement("tr");
      for (const text of [shared.when(time), title, vendor]) {
        const cell = document.createElement("td");
        cell.textContent = text;
        row.append(cell);
      }
      row.firstChild.title = shared.market(time) || iso(time);
      row.children[1].className = "wrap";
      list.append(row);
    }
    list.closest(".scroll").hidden = !news.length;
    paint();
  };
  return { load, paint, of: (from, to) => news.filter((each) => each[0] >= from && each[0] < to).map((each) => each[1]) };
};
