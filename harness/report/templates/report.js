// SPDX-License-Identifier: Apache-2.0
// Hovering over the plots and switching curves on and off. The page says everything without it.
"use strict";
(() => {
  const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const time = (ns) => {
    if (ns < 999.5) return `${Math.round(ns)} ns`;
    const [size, unit] = units.find(([each]) => ns >= 0.9995 * each);
    return `${(ns / size).toPrecision(3)} ${unit}`;
  };
  // 1 - 10^-decades as a percentage, with as many nines as it takes to tell it from its neighbours.
  const percentile = (decades) => {
    const digits = Math.max(0, Math.min(9, Math.ceil(decades) - 1));
    return `${(100 * (1 - 10 ** -decades)).toFixed(digits)} %`;
  };
  const child = (parent, tag, text, name) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (name) element.className = name;
    parent.append(element);
    return element;
  };

  for (const figure of document.querySelectorAll("figure[data-plot]")) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const tip = figure.querySelector(".tip");
    const hidden = new Set();

    const leave = () => {
      tip.hidden = true;
      for (const each of figure.querySelectorAll(".cross, .dot")) each.style.visibility = "hidden";
    };
    for (const plot of figure.querySelectorAll(".plot")) {
      const [left, right, top, bottom] = plot.dataset.area.split(" ").map(Number);
      const cross = plot.querySelector(".cross");
      const dots = plot.querySelectorAll(".dot");
      const height = Math.log10(data.high / data.low);
      plot.addEventListener("pointerleave", leave);
      plot.addEventListener("pointermove", (event) => {
        const box = plot.getBoundingClientRect();
        const scale = plot.viewBox.baseVal.width / box.width;
        const share = ((event.clientX - box.left) * scale - left) / (right - left);
        if (share < 0 || share > 1) return leave();
        const last = data.series[0].values.length - 1;
        const step = Math.round(share * last);
        const x = left + (step / last) * (right - left);
        cross.setAttribute("x1", x);
        cross.setAttribute("x2", x);
        cross.style.visibility = "visible";
        tip.replaceChildren();
        child(tip, "b", percentile((data.decades * step) / last));
        data.series.forEach((series, place) => {
          const value = series.values[step];
          const shown = value !== null && !hidden.has(place);
          dots[place].style.visibility = shown ? "visible" : "hidden";
          if (hidden.has(place)) return;
          if (shown) {
            dots[place].setAttribute("cx", x);
            dots[place].setAttribute("cy", bottom - (bottom - top) * (Math.log10(Math.max(value, data.low) / data.low) / height));
          }
          const row = child(tip, "div", "");
          child(row, "span", "", `swatch s${series.slot}`);
          child(row, "span", series.name);
          child(row, "span", shown ? time(value) : "–");
        });
        tip.hidden = false;
        const at = x / scale;
        const room = box.width - tip.offsetWidth - 8;
        tip.style.left = `${Math.max(0, Math.min(room, at < box.width / 2 ? at + 16 : at - tip.offsetWidth - 16))}px`;
      });
    }
    for (const button of figure.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        const place = Number(button.dataset.curve);
        const off = button.getAttribute("aria-pressed") === "true";
        button.setAttribute("aria-pressed", String(!off));
        if (off) hidden.add(place); else hidden.delete(place);
        for (const curve of figure.querySelectorAll(`.curve[data-curve="${place}"]`)) curve.classList.toggle("off", off);
        leave();
      });
    }
  }
})();
