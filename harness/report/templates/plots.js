// SPDX-License-Identifier: Apache-2.0
// What all plots have in common. uPlot draws them; each has a cursor that a mouse, a finger and the arrow keys move, and a
// box that says the values there.

const plots = new Set();

// Plots are made when they come near the screen: a page may have hundreds.
const makers = new Map();
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) makeNow(entry.target);
}, { rootMargin: "400px" });
const later = (host, make) => {
  makers.set(host, make);
  near.observe(host);
};
const makeNow = (host) => {
  const make = makers.get(host);
  makers.delete(host);
  near.unobserve(host);
  if (make) make();
};

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const width = Math.floor(target.clientWidth);
    if (target.plot && width > 0 && width !== target.plot.width) {
      target.plot.setSize({ width, height: target.plot.height });
    }
  }
});
const redraw = () => {
  readTheme();
  for (const plot of plots) plot.redraw(false, true);
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("paper");
  for (const host of [...makers.keys()]) if (host.isConnected) makeNow(host);
  redraw();
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("paper");
  redraw();
});

const alpha = (colour, share) => `${colour}${Math.round(255 * share).toString(16).padStart(2, "0")}`;
const slotColour = (slot) => () => theme.slots[slot];

// Ticks of a log axis: powers of ten, of very many every second or third, of few 2 and 5 between them too.
const decades = (low, high) => {
  const found = [];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const stride = Math.ceil((last - first) / 7);
  for (let n = first; n <= last; n++) {
    for (const factor of high / low < 60 ? [1, 2, 5] : [1]) {
      const value = factor * 10 ** n;
      if (value >= low * 0.999 && value <= high * 1.001 && n % stride === 0) found.push(value);
    }
  }
  return found;
};

// Leave out labels that would lie on each other, or reach beyond the plot.
const thinLabels = (u, splits, labels) => {
  const pixels = (split) => u.valToPos(split, "x");
  let edge = -Infinity;
  return splits.map((split, place) => {
    const half = 3.6 * labels[place].length + 4;
    const at = pixels(split);
    if (at - half < edge || at + half > u.bbox.width / devicePixelRatio + 24) return "";
    edge = at + half;
    return labels[place];
  });
};

const axis = (more) => ({
  stroke: () => theme.soft,
  grid: { stroke: () => theme.grid, width: 1 },
  ticks: { show: false },
  filter: (u, splits) => splits, // all of them: uPlot would thin those of a log axis
  font: theme.font,
  ...more,
});

// The box beside the cursor. `rows` are [slot or null, dashed, name, text].
const tipOf = (host) => {
  const box = el("div", { className: "tip", hidden: true, "aria-hidden": "true" });
  host.append(box);
  return {
    hide: () => { box.hidden = true; },
    show: (title, rows, x, y) => {
      box.replaceChildren(el("b", {}, title), ...rows.map(([slot, dashed, name, text]) => el("div", {},
        slot === null ? null : el("span", { className: `swatch s${slot}${dashed ? " dash" : ""}` }),
        el("span", {}, name), el("span", {}, text))));
      box.hidden = false;
      const room = host.clientWidth - box.offsetWidth - 4;
      const left = x < host.clientWidth / 2 ? x + 16 : x - box.offsetWidth - 16;
      box.style.left = `${Math.max(0, Math.min(room, left))}px`;
      box.style.top = `${y}px`;
    },
  };
};

// A finger moves the cursor as a mouse does; up and down it scrolls the page.
const byTouch = (u) => {
  const move = (event) => {
    if (event.pointerType === "mouse") return;
    const box = u.over.getBoundingClientRect();
    u.setCursor({ left: event.clientX - box.left, top: event.clientY - box.top });
  };
  u.over.addEventListener("pointerdown", move);
  u.over.addEventListener("pointermove", move);
};

// Left and right, Home and End move the cursor over the places that `stops()` lists; Escape hides it.
const byKeys = (host, u, stops, go, hide) => {
  let place = -1;
  host.tabIndex = 0;
  host.addEventListener("keydown", (event) => {
    const all = stops();
    if (all.length === 0) return;
    const last = all.length - 1;
    const moves = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last };
    if (event.key === "Escape" && place >= 0) {
      place = -1;
      event.stopPropagation();
      event.preventDefault();
      return hide();
    }
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    place = Math.max(0, Math.min(last, moves[event.key]));
    say(go(all[place]));
  });
  host.addEventListener("blur", () => { place = -1; hide(); });
};

const mount = (host, options, data) => {
  const width = Math.max(120, Math.floor(host.clientWidth));
  const u = new uPlot({ width, legend: { show: false }, ...options }, data, host);
  host.plot = u;
  plots.add(u);
  sizes.observe(host);
  byTouch(u);
  return u;
};
const unmount = (host) => {
  if (!host.plot) return;
  sizes.unobserve(host);
  plots.delete(host.plot);
  host.plot.destroy();
  host.plot = null;
  host.replaceChildren();
};
