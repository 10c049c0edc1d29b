"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const figures = [];

  const paint = () => {
    const ink = dark.matches ? "#aab3be" : "#4b545f";
    const line = dark.matches ? "#333a44" : "#dde2e7";
    for (const figure of figures) {
      for (const axis of [...figure.left, ...figure.below]) {
        axis.setv({ major_label_text_color: ink, axis_label_text_color: ink, axis_line_color: ink,
          major_tick_line_color: ink, minor_tick_line_color: null });
      }
      for (const grid of figure.center) {
        if (grid.grid_line_color !== undefined) grid.grid_line_color = line;
      }
      for (const mark of figure.renderers.filter((each) => each.name === "ink")) {
        mark.glyph.setv({ line_color: { value: ink } });
      }
    }
  };

  const zoom = (factor, shift) => {
    const range = figures[0].x_range;
    const { start, end } = range;
    const middle = (start + end) / 2 + shift * (end - start);
    const half = ((end - start) / 2) * factor;
    range.setv({ start: middle - half, end: middle + half });
  };
  const ways = { in: [0.5, 0], out: [2, 0], left: [1, -0.25], right: [1, 0.25] };

  const draw = async () => {
    for (const item of read("plots")) {
      await Bokeh.embed.embed_item(item);
      figures.push(Bokeh.documents[Bokeh.documents.length - 1].roots()[0]);
    }
    paint();
    dark.addEventListener("change", paint);
    if (!document.getElementById("power")) return;
    const { start, end } = figures[0].x_range;
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => {
        const way = ways[button.dataset.zoom];
        if (way) zoom(...way);
        else figures[0].x_range.setv({ start, end });
      });
    }
  };

  const table = () => {
    const { columns, rows } = read("rows");
    const body = document.querySelector("#calls tbody");
    const shown = document.getElementById("shown");
    const size = 100;
    let first = 0;
    const fill = () => {
      const page = rows.slice(first, first + size).map((row) => {
        const line = document.createElement("tr");
        row.forEach((value, index) => {
          const cell = document.createElement(index ? "td" : "th");
          if (!index) cell.scope = "row";
          const digits = columns[index].digits;
          cell.textContent = value === null ? "–" : typeof value === "number" && digits !== null
            ? value.toFixed(digits) : String(value);
          line.append(cell);
        });
        return line;
      });
      body.replaceChildren(...page);
      shown.textContent = `${first + 1} to ${Math.min(first + size, rows.length)} of ${rows.length}`;
      document.getElementById("earlier").disabled = first === 0;
      document.getElementById("later").disabled = first + size >= rows.length;
    };
    const turn = (by) => { first += by * size; fill(); };
    document.getElementById("earlier").addEventListener("click", () => turn(-1));
    document.getElementById("later").addEventListener("click", () => turn(1));
    const heads = [...document.querySelectorAll("#calls thead th")];
    heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((each) => each.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      rows.sort((one, two) => {
        const [a, b] = [one[index], two[index]];
        if (a === null || b === null) return (a === null) - (b === null);
        return (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1);
      });
      first = 0;
      fill();
    }));
    fill();
  };

  if (document.getElementById("rows")) table();
  draw().then(() => { document.documentElement.dataset.drawn = "true"; });
})();
