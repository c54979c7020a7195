// Candles and volume: loads what is looked at, in the timeframe that fits, and shades what is missing.
"use strict";

(() => {
  const place = document.getElementById("chart");
  if (!place || !window.LightweightCharts) return;
  const data = place.dataset;
  const steps = Object.fromEntries(JSON.parse(data.steps));
  const names = Object.keys(steps); // finest first
  const first = Number(data.first);
  let last = Number(data.last);
  const fitting = Number(data.fitting);
  const most = 500; // bars in view
  const values = document.getElementById("values");
  const note = document.getElementById("note");
  const files = [...document.querySelectorAll("[data-file]")];
  const live = document.getElementById("live");
  const intraday = (name) => steps[name] < 86400;
  const iso = (seconds) => new Date(Math.round(seconds * 1000)).toISOString();
  // The time on the market's clocks, where its calendar is known.
  const clock = data.zone && new Intl.DateTimeFormat("en-GB", {
    timeZone: data.zone, weekday: "short", day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
  });
  const market = (seconds) => (clock ? clock.format(new Date(seconds * 1000)) : "");
  const when = (seconds) => iso(seconds).slice(0, 16).replace("T", " ");

  let chosen = data.step; // auto, or a timeframe
  let current = null; // the timeframe that is loaded
  let bars = [];
  let loaded = [0, 0];
  let gaps = [];
  let busy = false;
  let again = false;
  let forced = false;

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const look = () => ({
    layout: {
      background: { type: "solid", color: color("surface") },
      textColor: color("muted"),
      fontFamily: getComputedStyle(document.body).fontFamily,
      fontSize: 12,
      attributionLogo: false, // it would bring a style of its own; the link is below the chart
    },
    grid: { vertLines: { color: color("line") }, horzLines: { color: color("line") } },
    rightPriceScale: { borderColor: color("line") },
    timeScale: { borderColor: color("line") },
    crosshair: { mode: 0 },
  });
  const chart = LightweightCharts.createChart(place, {
    ...look(),
    autoSize: true,
    localization: {
      locale: "en-GB",
      timeFormatter: (time) => iso(time).slice(0, intraday(current) ? 16 : 10).replace("T", " "),
    },
  });
  const candles = chart.addSeries(LightweightCharts.CandlestickSeries, { borderVisible: false });
  const volumes = chart.addSeries(LightweightCharts.HistogramSeries, {
    priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false,
  });
  chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  chart.priceScale("right").applyOptions({ scaleMargins: { top: 0.06, bottom: 0.24 } });

  const paint = () => {
    chart.applyOptions(look());
    candles.applyOptions({ upColor: color("good"), wickUpColor: color("good"), downColor: color("bad"), wickDownColor: color("bad") });
    others.paint();
    show(true);
  };

  // What is missing has no width on an axis of bars: a band between the bars around it says that it is missing.
  const shade = {
    paneViews: () => [{
      zOrder: () => "bottom",
      renderer: () => ({
        draw: (target) => target.useBitmapCoordinateSpace((scope) => {
          const scale = chart.timeScale();
          scope.context.fillStyle = color("warn-soft");
          for (const [start] of gaps) {
            const at = position(start);
            const before = at > 0 ? scale.timeToCoordinate(bars[at - 1][0]) : null;
            const after = at < bars.length ? scale.timeToCoordinate(bars[at][0]) : null;
            if (before === null && after === null) continue;
            const middle = before === null ? after - 3 : after === null ? before + 3 : (before + after) / 2;
            const width = Math.max(3, before !== null && after !== null ? after - before : 6);
            const ratio = scope.horizontalPixelRatio;
            scope.context.fillRect((middle - width / 2) * ratio, 0, width * ratio, scope.bitmapSize.height);
          }
        }),
      }),
    }],
  };
  candles.attachPrimitive(shade);

  const position = (time) => {
    let low = 0;
    let high = bars.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (bars[middle][0] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  // `before`: how many bars were put before those that were there. What was in view stays where it is.
  const show = (keep, before = 0) => {
    const range = keep ? chart.timeScale().getVisibleLogicalRange() : null;
    const up = color("good-soft");
    const down = color("bad-soft");
    candles.setData(bars.map(([time, open, high, low, close]) => (close === null ? { time } : { time, open, high, low, close })));
    volumes.setData(bars.map(([time, open, , , close, volume]) => (volume === null ? { time } : { time, value: volume, color: close >= open ? up : down })));
    if (range) chart.timeScale().setVisibleLogicalRange({ from: range.from + before, to: range.to + before });
    news.paint();
  };

  const fetchJson = async (url, parameters) => {
    const answer = await fetch(`${url}?${new URLSearchParams(parameters)}`, { headers: { Accept: "application/json", "HX-Request": "true" } });
    if (answer.status === 204 && answer.headers.get("HX-Redirect")) {
      location.assign(answer.headers.get("HX-Redirect"));
      return null;
    }
    if (!answer.ok) {
      const told = new DOMParser().parseFromString(await answer.text(), "text/html");
      throw new Error(told.body.textContent.trim() || `the server answers ${answer.status}`);
    }
    return answer.json();
  };
  // The bar that a moment is in, or the one before.
  const at = (time) => {
    const found = position(time + 0.001) - 1;
    return found >= 0 ? bars[found][0] : null;
  };
  const shared = { chart, data, fetchJson, iso, candles, at, when, market, changed: () => settle(true) };
  const others = window.comparing(shared);
  const news = window.showingNews(shared);
  const load = (name, from, to) => fetchJson(data.bars, { timeframe: name, start: iso(from), end: iso(to) });

  const fit = (span) => names.find((name) => span / steps[name] <= fitting) || names[names.length - 1];

  // By the bars that are in view, because markets are closed for most of the day. Finer only when there is room to spare:
  // a small movement would go to and fro.
  const suiting = (range) => {
    const seen = position(range.to) - position(range.from) + 1;
    const would = names.find((name) => (seen * steps[current]) / steps[name] <= most * 0.8) || names[names.length - 1];
    return seen > most || steps[would] < steps[current] ? would : current;
  };

  const press = () => {
    for (const button of document.querySelectorAll("[data-step][aria-pressed]")) {
      button.setAttribute("aria-pressed", String(button.dataset.step === chosen));
    }
  };

  const replace = async (name, from, to) => {
    const span = Math.max(to - from, steps[name] * 50);
    const range = [Math.max(first, from - span), Math.min(last + 1, to + span)];
    const answer = await load(name, ...range);
    if (!answer) return;
    current = name;
    bars = answer.bars;
    loaded = range;
    gaps = [];
    chart.applyOptions({ timeScale: { timeVisible: intraday(name), secondsVisible: steps[name] < 60 } });
    show(false);
    const start = bars[Math.min(position(from), Math.max(0, bars.length - 1))];
    const end = bars[Math.max(0, position(to) - 1)];
    if (start && end && start[0] < end[0]) chart.timeScale().setVisibleRange({ from: start[0], to: end[0] });
    else chart.timeScale().fitContent();
    await others.load(name, range);
    if (name === data.own) lookForGaps(from, to);
    followEnd();
  };

  const lookForGaps = async (from, to) => {
    const shown = bars;
    const answer = await fetchJson(data.gaps, { start: iso(from), end: iso(to) }).catch(() => null);
    if (!answer || bars !== shown) return;
    gaps = answer.gaps;
    chart.applyOptions({}); // draws again
    tell();
  };

  const extend = async (range) => {
    const span = range.to - range.from;
    // By bars and not by time: before the first one of a day there may be a night that is loaded.
    const begins = position(range.from);
    const ends = position(range.to);
    const few = (ends - begins) / 2;
    const left = begins <= few;
    const right = bars.length - ends <= few;
    // Where nothing is, as over a weekend, the next part is larger.
    for (let width = 2 * span; left && loaded[0] > first; width *= 2) {
      const from = Math.max(first, loaded[0] - width);
      const answer = await load(current, from, loaded[0]);
      if (!answer) return;
      bars = answer.bars.concat(bars);
      loaded[0] = from;
      if (answer.bars.length) break;
    }
    for (let width = 2 * span; right && loaded[1] <= last; width *= 2) {
      const to = Math.min(last + 1, loaded[1] + width);
      const answer = await load(current, loaded[1], to);
      if (!answer) return;
      bars = bars.concat(answer.bars);
      loaded[1] = to;
      if (answer.bars.length) break;
    }
  };

  const link = (range) => {
    const beside = others.ids().map((id) => ["compare", id]);
    const asked = [["start", iso(range.from)], ["end", iso(range.to + 1)], ...beside];
    history.replaceState(null, "", `${data.page}?${new URLSearchParams([...asked, ["timeframe", chosen]])}`);
    const exact = new URLSearchParams([...asked, ["timeframe", current]]);
    for (const file of files) file.href = `${data.bars}.${file.dataset.file}?${exact}`;
  };

  const tell = (problem) => {
    const missing = gaps.reduce((sum, gap) => sum + gap[2], 0);
    note.textContent = problem || [
      `${bars.length.toLocaleString("en")} bars of ${current} loaded`,
      missing ? `${missing.toLocaleString("en")} missing (shaded)` : "",
    ].filter(Boolean).join(", ");
    note.className = problem ? "bad" : "";
  };

  // While the newest bars are in view, those that come are put behind them.
  let following = null;
  let followed = null;
  const take = (text) => {
    const answer = JSON.parse(text);
    if (answer.timeframe !== current || !answer.bars.length) return;
    const end = bars.length ? bars[bars.length - 1][0] : 0;
    const range = chart.timeScale().getVisibleLogicalRange();
    const behind = range && range.to >= bars.length - 1.5;
    const fresh = answer.bars.filter((bar) => bar[0] >= end);
    if (!fresh.length) return;
    bars = bars.filter((bar) => bar[0] < fresh[0][0]).concat(fresh);
    last = Math.max(last, fresh[fresh.length - 1][0]);
    loaded[1] = Math.max(loaded[1], last + 1);
    show(!behind);
    if (behind) chart.timeScale().scrollToRealTime();
    describe(bars[bars.length - 1]);
    tell();
    live.dataset.bars = String(bars.length);
  };
  const followEnd = () => {
    const name = loaded[1] > last ? current : null;
    if (followed === name) return;
    if (following) following.end();
    followed = name;
    following = null;
    live.hidden = name === null;
    if (name === null) return;
    const since = () => new URLSearchParams({ timeframe: name, start: iso(bars.length ? bars[bars.length - 1][0] : last) });
    const ask = () => fetch(`${data.bars}?${since()}&end=9999-01-01`, { headers: { "X-Unattended": "1", "HX-Request": "true" } })
      .then(async (answer) => answer.status === 200 && take(await answer.text()));
    following = window.follow(() => `${data.events}?${since()}`, take, ask, (state) => {
      live.dataset.state = state;
    });
  };

  const settle = async (again_) => {
    if (again_ === true) forced = true;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      do {
        again = false;
        const range = chart.timeScale().getVisibleRange();
        if (!range) break;
        const wanted = chosen === "auto" ? suiting(range) : chosen;
        if (wanted !== current) {
          await replace(wanted, range.from, range.to);
        } else {
          const before = bars;
          await extend(range);
          if (bars !== before) show(true, before.length ? position(before[0][0]) : 0);
          if (bars !== before || forced) await others.load(current, loaded);
          followEnd();
        }
        forced = false;
        const now = chart.timeScale().getVisibleRange();
        if (now) {
          link(now);
          news.load(now);
        }
        tell();
      } while (again);
    } catch (error) {
      tell(`It cannot be loaded: ${error.message}`);
    } finally {
      busy = false;
    }
  };

  let timer = 0;
  chart.timeScale().subscribeVisibleTimeRangeChange(() => {
    clearTimeout(timer);
    timer = setTimeout(settle, 150);
  });

  const number = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumFractionDigits: 8 }));
  const describe = (bar) => {
    values.replaceChildren();
    const add = (label, text, tone) => {
      const part = document.createElement("span");
      part.append(label ? `${label} ` : "");
      const strong = document.createElement("b");
      strong.textContent = text;
      if (tone) strong.className = tone;
      part.append(strong);
      values.append(part);
    };
    if (!bar) {
      values.textContent = "No bars in this window";
      return;
    }
    const [time, open, high, low, close, volume] = bar;
    const before = bars[position(time) - 1];
    add("", `${iso(time).slice(0, intraday(current) ? 16 : 10).replace("T", " ")} UTC`);
    if (clock && intraday(current)) add("Market", market(time));
    const tone = close >= open ? "good" : "bad";
    add("Open", number(open));
    add("High", number(high));
    add("Low", number(low));
    add("Close", number(close), tone);
    if (before && before[4]) {
      const change = (close / before[4] - 1) * 100;
      add("Change", `${change >= 0 ? "+" : "−"}${Math.abs(change).toFixed(2)} %`, change >= 0 ? "good" : "bad");
    }
    add("Volume", number(volume));
    const titles = news.of(time, time + steps[current]);
    if (titles.length) add("News", titles.slice(0, 2).join(" · ") + (titles.length > 2 ? " …" : ""));
  };
  chart.subscribeCrosshairMove((event) => {
    const at = event.time === undefined ? bars.length - 1 : position(event.time);
    describe(bars[at]);
  });

  for (const button of document.querySelectorAll("[data-step][aria-pressed]")) {
    button.addEventListener("click", () => {
      chosen = button.dataset.step;
      press();
      settle();
    });
  }
  document.addEventListener("theme", paint);

  press();
  const from = Number(data.start);
  const to = Number(data.end);
  busy = true;
  replace(chosen === "auto" ? fit(to - from) : chosen, from, to)
    .then(() => {
      busy = false;
      paint();
      describe(bars[bars.length - 1]);
      tell();
      place.dataset.ready = "true";
    })
    .catch((error) => {
      busy = false;
      values.textContent = "";
      tell(`It cannot be loaded: ${error.message}`);
    });
})();
