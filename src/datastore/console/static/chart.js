// Candles and volume: loads what is looked at, in the timeframe that fits, and shades what is missing.
"use strict";

(() => {
  const place = document.getElementById("chart");
  if (!place || !window.LightweightCharts) return;
  const data = place.dataset;
  const { fetchJson, lastOf } = window.requesting;
  const steps = Object.fromEntries(JSON.parse(data.steps));
  const names = Object.keys(steps); // finest first
  const first = Number(data.first);
  let last = Number(data.last);
  const fitting = Number(data.fitting);
  const most = 500; // bars in view
  const request = 0.75 * Number(data.most); // bars of a request, fewer than an answer may have
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

  // What is in view stays where it is, whatever was put before it since the chart was last drawn.
  let drawnFirst = null;
  // The chart moves with its next frame, and until then says where it was. Who moves it again meanwhile goes on from where
  // it is going to be.
  let going = null;
  const visible = () => going || chart.timeScale().getVisibleLogicalRange();
  const setVisible = (range) => {
    going = range;
    chart.timeScale().setVisibleLogicalRange(range);
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (going === range) going = null;
    }));
  };

  const show = (keep) => {
    const range = keep ? visible() : null;
    const before = drawnFirst === null ? 0 : position(drawnFirst);
    drawnFirst = bars.length ? bars[0][0] : null;
    const up = color("good-soft");
    const down = color("bad-soft");
    candles.setData(bars.map(([time, open, high, low, close]) => (close === null ? { time } : { time, open, high, low, close })));
    volumes.setData(bars.map(([time, open, , , close, volume]) => (volume === null ? { time } : { time, value: volume, color: close >= open ? up : down })));
    if (range) setVisible({ from: range.from + before, to: range.to + before });
    news.paint();
  };

  // The bar that a moment is in, or the one before.
  const at = (time) => {
    const found = position(time + 0.001) - 1;
    return found >= 0 ? bars[found][0] : null;
  };
  const shared = { chart, data, fetchJson, lastOf, iso, candles, at, when, clock, market, changed: () => settle(true) };
  const others = window.comparing(shared);
  const news = window.showingNews(shared);
  const load = (name, from, to) => fetchJson(data.bars, { timeframe: name, start: iso(from), end: iso(to) });

  const fit = (span) => names.find((name) => span / steps[name] <= fitting) || names[names.length - 1];

  // The room for bars in view. Beyond the first and the last bar there is room, too: a view that was dragged past what is
  // loaded is as wide as before.
  const room = () => {
    const view = chart.timeScale().getVisibleLogicalRange();
    return view ? Math.max(2, view.to - view.from) : 0;
  };

  // The times in view, with the room before the first bar that is loaded.
  const inView = () => {
    const range = chart.timeScale().getVisibleRange();
    const view = chart.timeScale().getVisibleLogicalRange();
    if (!range || !view) return null;
    return { from: Math.max(first, range.from + Math.min(0, view.from) * steps[current]), to: range.to };
  };

  // By the room for bars, because markets are closed for most of the day. Finer only when there is room to spare: a small
  // movement would go to and fro.
  const suiting = () => {
    const seen = room();
    const would = names.find((name) => (seen * steps[current]) / steps[name] <= most * 0.8) || names[names.length - 1];
    return seen > most || steps[would] < steps[current] ? would : current;
  };

  const press = () => {
    for (const button of document.querySelectorAll("[data-step][aria-pressed]")) {
      button.setAttribute("aria-pressed", String(button.dataset.step === chosen));
    }
  };

  // `aimed`: what is in view does not matter.
  const replace = async (name, from, to, aimed = false) => {
    let range = null;
    let answer = null;
    for (let outside = true; outside;) {
      // As much again on either side, or as much as a request may have.
      const rest = (request * steps[name] - (to - from)) / 2;
      const span = Math.max(0, Math.min(rest, Math.max(to - from, steps[name] * 50)));
      range = [Math.max(first, from - span), Math.min(last + 1, to + span)];
      answer = await load(name, ...range);
      if (!answer) return;
      // Who has moved on meanwhile stays there.
      const moved = current === null || aimed ? null : inView();
      outside = moved !== null && (moved.from < range[0] || moved.to > range[1]);
      if (moved) [from, to] = [moved.from, moved.to];
    }
    current = name;
    bars = answer.bars;
    loaded = range;
    gaps = [];
    drawnFirst = null;
    chart.applyOptions({ timeScale: { timeVisible: intraday(name), secondsVisible: steps[name] < 60 } });
    show(false);
    const start = bars[Math.min(position(from), Math.max(0, bars.length - 1))];
    const end = bars[Math.max(0, position(to) - 1)];
    going = null;
    if (start && end && start[0] < end[0]) chart.timeScale().setVisibleRange({ from: start[0], to: end[0] });
    else chart.timeScale().fitContent();
    await others.load(name, range);
    followEnd();
  };

  const fetchGaps = lastOf(data.gaps);
  const lookForGaps = async (from, to) => {
    const answer = await fetchGaps({ start: iso(from), end: iso(to) });
    if (!answer || current !== data.own) return;
    gaps = answer.gaps;
    chart.applyOptions({}); // draws again
    tell();
  };

  // Loads until there is half a view of bars on either side. Where nothing is, as over a weekend, the next part is larger.
  const extend = async () => {
    const view = chart.timeScale().getVisibleLogicalRange();
    const few = room() / 2;
    const longest = request * steps[current];
    const begin = Math.min(4 * few * steps[current], longest);
    let before = view.from;
    for (let width = begin; before < few && loaded[0] > first; width = Math.min(2 * width, longest)) {
      const from = Math.max(first, loaded[0] - width);
      const answer = await load(current, from, loaded[0]);
      if (!answer) return;
      bars = answer.bars.concat(bars);
      loaded[0] = from;
      before += answer.bars.length;
    }
    let after = bars.length - 1 - view.to - (before - view.from);
    for (let width = begin; after < few && loaded[1] <= last; width = Math.min(2 * width, longest)) {
      const to = Math.min(last + 1, loaded[1] + width);
      const answer = await load(current, loaded[1], to);
      if (!answer) return;
      bars = bars.concat(answer.bars);
      loaded[1] = to;
      after += answer.bars.length;
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

  let timer = 0;

  // Shows a part that may not be loaded.
  let target = null;
  const goTo = (from, to) => {
    target = [from, to];
    settle();
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
        const range = inView();
        if (!range) break;
        const wanted = chosen === "auto" ? suiting() : chosen;
        const aim = target;
        target = null;
        if (aim) {
          await replace(wanted, ...aim, true);
          describe(bars[bars.length - 1]);
        } else if (wanted !== current) {
          await replace(wanted, range.from, range.to);
        } else {
          const before = bars;
          await extend();
          if (bars !== before) show(true);
          if (bars !== before || forced) await others.load(current, loaded);
          followEnd();
        }
        forced = false;
        const now = chart.timeScale().getVisibleRange();
        if (now) {
          link(now);
          news.load(now);
          if (current === data.own) lookForGaps(now.from, now.to);
        }
        tell();
      } while (again);
    } catch (error) {
      tell(`It cannot be loaded: ${error.message}`);
    } finally {
      busy = false;
      if (!timer) place.dataset.state = "rests";
    }
  };

  chart.timeScale().subscribeVisibleTimeRangeChange(() => {
    place.dataset.state = "moves";
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = 0;
      settle();
    }, 150);
  });

  const telling = window.tellingValues(shared, news);
  const describe = (bar) => telling(bar, bar && bars[position(bar[0]) - 1], intraday(current), steps[current]);
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

  const moved = () => {
    const seen = chart.timeScale().getVisibleRange();
    if (seen) describe(bars[position(seen.to)]);
  };
  const toEnd = () => {
    const view = inView();
    if (view && loaded[1] <= last) goTo(last + 1 - (view.to - view.from), last + 1);
    else chart.timeScale().scrollToRealTime();
  };
  window.movingByKeys(place, visible, setVisible, moved, toEnd);

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
      return settle();
    })
    .catch((error) => {
      busy = false;
      document.getElementById("values").textContent = "";
      tell(`It cannot be loaded: ${error.message}`);
    });
})();
