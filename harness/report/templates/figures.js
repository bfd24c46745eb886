// SPDX-License-Identifier: Apache-2.0
// From the page's data to plots: the figures of each target, and the small ones side by side.

const GRID = about.grid;
const NINES = (last) => {
  const splits = [0, Math.log10(2)];
  for (let n = 1; n <= last + 1e-9; n++) splits.push(n);
  return splits;
};
const NINE_LABELS = (splits) => splits.map((split) => (split === 0 ? "0 %" : percentile(split)));

// A curve as Python's curves.steps() wrote it: what changes, as place and value in turns.
const unsteps = (steps, points) => {
  const values = new Array(points);
  for (let at = 0; at < steps.length; at += 2) {
    values.fill(steps[at + 1], steps[at], at + 2 < steps.length ? steps[at + 2] : points);
  }
  return values;
};

const figureData = new Map();
const figureOf = (key) => {
  if (!figureData.has(key)) figureData.set(key, read(`data-${key}`));
  return figureData.get(key);
};

// Curves that end at different places, over one x: the grid and the ends.
const percentileSpec = (curves, scale) => {
  const points = Math.max(...curves.map(({ curve }) => curve.points));
  const x = [...new Set([...GRID.slice(0, points), ...curves.map(({ curve }) => curve.reach)])].sort((a, b) => a - b);
  const lines = curves.map(({ name, slot, dash, curve }) => {
    const over = (steps, end) => {
      const values = unsteps(steps, curve.points);
      let place = 0;
      return x.map((nines) => {
        if (nines > curve.reach + 1e-9) return null;
        if (nines === curve.reach) return end;
        while (place < curve.points - 1 && GRID[place] < nines - 1e-9) place++;
        return values[place];
      });
    };
    const [middle, least, most] = curve.ends;
    return {
      name, slot, dash, mid: over(curve.mid, middle),
      low: curve.low && over(curve.low, least), high: curve.high && over(curve.high, most),
      endX: curve.reach, endY: middle,
    };
  });
  const splits = NINES(scale.decades);
  return {
    x, lines, align: -1, xRange: [0, scale.decades], yRange: [scale.low, scale.high],
    xSplits: splits, xLabels: NINE_LABELS(splits), yLabel: setting,
    title: (index) => percentile(x[index]),
    text: (line, index) => {
      const value = line.mid[index];
      if (value === null || value === undefined) return "–";
      const range = line.low && line.low[index] !== line.high[index] ? ` (${time(line.low[index])} – ${time(line.high[index])})` : "";
      return time(value) + range;
    },
  };
};

const PER_DECADE = 10;
const densitySpec = (figure) => {
  const known = figure.lines.filter((line) => line.density);
  const first = Math.min(...known.map(({ density }) => density.first));
  const last = Math.max(...known.map(({ density }) => density.first + density.rates.length));
  const rates = known.flatMap(({ density }) => density.rates.filter((rate) => rate > 0));
  const low = 10 ** Math.floor(Math.log10(Math.min(...rates)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...rates)) + 0.01);
  const x = Array.from({ length: last - first + 1 }, (_, place) => (first + place) / PER_DECADE);
  const splits = [];
  for (let n = Math.ceil(x[0]); n <= x[x.length - 1]; n++) splits.push(n);
  return {
    x, align: 1, filled: true, xRange: [x[0], x[x.length - 1]], yRange: [low, high],
    xSplits: splits, xLabels: splits.map((n) => setting(10 ** n)),
    yLabel: (rate) => (rate >= 1e6 ? `${rate / 1e6} M/s` : rate >= 1e3 ? `${rate / 1e3} k/s` : `${Number(rate.toPrecision(3))}/s`),
    lines: figure.lines.map((line) => ({
      name: line.name, slot: line.slot, dash: line.dash,
      mid: x.map((_, place) => {
        if (!line.density) return null;
        const own = first + place - line.density.first;
        if (own < 0 || own > line.density.rates.length) return null;
        return Math.max(line.density.rates[own] || 0, low); // where it ends, down to the axis
      }),
      rate: (place) => (line.density ? line.density.rates[first + place - line.density.first] || 0 : 0),
    })),
    title: (index) => `${time(10 ** x[index])} – ${time(10 ** (x[index] + 1 / PER_DECADE))}`,
    text: (line, index) => `${threeDigits(line.rate(index))}/s`,
  };
};

const narrow = () => innerWidth < 640;

for (const holder of document.querySelectorAll("figure[data-plot]")) {
  const key = holder.dataset.plot;
  const hidden = new Set();
  const made = [];
  const host = (kind) => holder.querySelector(`.plot[data-kind="${kind}"]`);
  const make = (kind, build) => {
    const place = host(kind);
    if (place) later(place, () => made.push([kind, build(place, figureOf(key))]));
  };
  make("percentiles", (place, figure) => linePlot(place, {
    ...percentileSpec(figure.lines, figure.scale), hidden, stride: 1,
    height: narrow() ? 300 : 400, names: !narrow() && figure.lines.every((line) => line.name.length < 34),
    level: figure.threshold ? { at: figure.threshold, text: `${figure.events || "threshold"}: over ${setting(figure.threshold)}` } : null,
  }));
  make("density", (place, figure) => linePlot(place, { ...densitySpec(figure), hidden, thin: true, height: 230 }));
  make("events", (place, figure) => {
    // From the threshold to the top of the percentiles' axis: the same for all plots of a metric.
    const yRange = [0.8 * (figure.threshold || figure.scale.low), figure.scale.high];
    return eventPlot(place, {
      lines: figure.lines, duration: figure.duration, hidden, height: 230,
      yRange, noun: figure.sample, runName: nameOfRun, open: openRun,
    });
  });
  for (const button of holder.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const place = Number(button.dataset.line);
      const show = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(show));
      if (show) hidden.delete(place); else hidden.add(place);
      for (const [kind, plot] of made) {
        if (kind === "events") plot.setSeries(place + 1, { show });
        else toggleLine(plot, place, show);
      }
    });
  }
}

// A range of y for these values, with round ends.
const around = (values) => {
  const low = Math.max(1, values.reduce((a, b) => Math.min(a, b), Infinity));
  const high = values.reduce((a, b) => Math.max(a, b), 1);
  return [10 ** Math.floor(Math.log10(low * 0.95)), 10 ** Math.ceil(Math.log10(high * 1.05))];
};

// Side by side: a panel for each target (its modes in it), or for each mode (all targets in it), on the same axes.
const beside = byId("beside");
if (beside) {
  const groups = read("data-beside");
  const panels = beside.querySelector(".panels");
  const what = byId("beside-what");
  groups.forEach((group, place) => what.append(el("option", { value: String(place) }, group.title)));
  const legend = beside.querySelector(".legend");
  const panel = (title, href, curves, scale, height) => {
    const host = el("div", { className: "plot", role: "application", "aria-roledescription": "plot", "aria-label": `Percentiles, ${title}; arrow keys move the cursor` });
    const heading = el("h3", {}, href ? el("a", { href }, title) : title);
    panels.append(el("div", { className: "panel" }, heading, host));
    later(host, () => linePlot(host, { ...percentileSpec(curves, scale), small: true, thin: true, height, sync: "beside" }));
  };
  const draw = () => {
    for (const host of panels.querySelectorAll(".plot")) { makers.delete(host); near.unobserve(host); unmount(host); }
    panels.replaceChildren();
    const group = groups[Number(what.value) || 0];
    const figures = group.panels.map(([label, key]) => [label, key, figureOf(key)]);
    const { scale } = figures[0][2];
    const names = new Map();
    legend.replaceChildren();
    panels.classList.remove("many", "large");
    if (beside.querySelector("input[value=mode]").checked) {
      for (const [label, , figure] of figures) {
        for (const line of figure.lines) {
          if (!names.has(line.name)) names.set(line.name, []);
          names.get(line.name).push({ ...line, name: label });
        }
      }
      // Of many targets the lines alone: their ranges would lie on each other.
      const bare = (lines) => lines.map((line) => ({ ...line, curve: { ...line.curve, low: undefined, high: undefined } }));
      for (const [name, lines] of names) panel(name, null, lines.length > 4 ? bare(lines) : lines, scale, 240);
      panels.classList.add("large");
      return;
    }
    const many = figures.length > 12;
    panels.classList.toggle("many", many);
    for (const [label, key, figure] of figures) {
      panel(label, `#${key}`, figure.lines, scale, many ? 120 : 170);
      for (const line of figure.lines) names.set(line.name, line.slot);
    }
    legend.append(...[...names].map(([name, slot]) => el("span", {}, el("span", { className: `swatch s${slot}` }), name)));
  };
  beside.addEventListener("change", draw);
  beside.hidden = false;
  later(panels, draw);
}
