// The keys of a chart: to the sides, nearer and farther, and to the newest bar.
"use strict";

window.movingByKeys = (place, visible, setVisible, moved, toEnd) => {
  const fewest = 5; // bars in view
  const sides = { ArrowLeft: [-1, -1], ArrowRight: [1, 1], "+": [1, -1], "=": [1, -1], "-": [-1, 1] };
  place.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const view = visible();
    const way = sides[event.key];
    if (event.key === "End") {
      toEnd();
    } else if (way && view) {
      const step = (view.to - view.from) * (event.shiftKey ? 0.5 : 0.1);
      const [from, to] = [view.from + way[0] * step, view.to + way[1] * step];
      if (to - from >= fewest) setVisible({ from, to });
    } else {
      return;
    }
    event.preventDefault();
    moved();
  });
};
