// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them, elements, and the colours of the style sheet. What Python's units.py says, here too.

const UNITS = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];

const threeDigits = (value) => {
  if (value === 0) return "0";
  const digits = 2 - Math.floor(Math.log10(Math.abs(value)));
  return digits >= 0 ? value.toLocaleString("en", { maximumSignificantDigits: 3, minimumSignificantDigits: 3 })
    : Math.round(value).toLocaleString("en", { maximumSignificantDigits: 3 });
};
const time = (ns) => {
  if (ns === null || ns === undefined) return "–";
  if (ns < 999.5) return `${Math.round(ns)} ns`;
  const [size, unit] = UNITS.find(([each]) => ns >= 0.9995 * each);
  return `${threeDigits(ns / size)} ${unit}`;
};
// A time that somebody chose, or a tick of an axis: without digits it does not have.
const setting = (ns) => {
  const [size, unit] = UNITS.find(([each]) => ns >= each) || UNITS[3];
  return `${Number((ns / size).toPrecision(6))} ${unit}`;
};
// 1 - 10^-nines as a percentage, with as many nines as it takes to tell it from its neighbours.
const percentile = (nines) => {
  const whole = Math.abs(nines - Math.round(nines)) < 1e-4;
  const digits = Math.max(0, Math.min(9, Math.ceil(nines - 1e-4) - (whole ? 2 : 1)));
  return `${(100 * (1 - 10 ** -nines)).toFixed(digits)} %`;
};

// An element with properties, attributes (a name with a dash, or role) and children; text only ever becomes text.
const el = (tag, about = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (value === null || value === undefined) continue;
    if (name.includes("-") || ["role", "for", "scope", "colspan"].includes(name)) element.setAttribute(name, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};
const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);
const once = (make) => {
  let made;
  return () => (made === undefined ? (made = make()) : made);
};

const about = read("about");

// What a screen reader is told when a key moved something that only eyes follow.
const say = (text) => { byId("said").textContent = text; };

// Canvases know no style sheets: its colours are read when the page opens, and again when they change.
const theme = {};
const readTheme = () => {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["page", "ink", "soft", "faint", "line", "grid", "accent"]) {
    theme[name] = style.getPropertyValue(`--${name}`).trim();
  }
  theme.slots = Array.from({ length: 8 }, (_, slot) => style.getPropertyValue(`--s${slot}`).trim());
  theme.font = `12px ${getComputedStyle(document.body).fontFamily}`;
};
readTheme();
