// The charts of the page: one board a benchmark, its panels drawn by uPlot when they come into sight.
// All panels of a board share the systems chosen, the smoothing and the part of the x axis that is shown.
"use strict";
(() => {
  const SHAPES = ["none", "circle", "square", "triangle", "diamond", "cross"];
  const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [14, 4], [5, 2, 1, 2, 1, 2]];
  const DIVERGING = 12; // times the usual range: a line that goes beyond would flatten all others
  const NEAR = 8; // lines that the readout names; charts of more lines have no bands
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function short(value) {
    for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (Math.abs(value) >= size) return `${+(value / size).toPrecision(4)} ${letter}`;
    return String(+value.toPrecision(4));
  }
  function ticks(values, share) {
    if (share) {
      const cent = values.map((value) => 100 * value);
      const places = [0, 1, 2, 3].find((d) => cent.every((v) => Math.abs(v - +v.toFixed(d)) < 1e-6)) ?? 4;
      return cent.map((value) => `${value.toFixed(places).replace("-", "−")}%`);
    }
    return values.map((value) => short(value).replace("-", "−"));
  }
  function said(value, share) {
    if (value == null) return "–";
    return (share ? `${(100 * value).toFixed(1)}%` : String(+value.toPrecision(4))).replace("-", "−");
  }

  // The mean over `width` neighbouring points, fewer at the ends; places without a value stay empty.
  function smooth(values, width) {
    if (width < 2) return values;
    const half = (width - 1) / 2;
    return values.map((value, place) => {
      if (value == null) return null;
      let sum = 0, count = 0;
      for (let other = Math.max(0, place - half); other <= Math.min(values.length - 1, place + half); other++)
        if (values[other] != null) { sum += values[other]; count++; }
      return sum / count;
    });
  }
  const steps = (x) => Array.isArray(x) ? x : Array.from({ length: x.count }, (_, place) => x.first + place * x.every);

  const part = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];
  const ascending = (a, b) => a - b;

  // Limits of the y axis. They show all means and bands in view, but not a diverging line, nor a band far wider than
  // the lines, nor, with `trim`, the few points that stand out on the worse side: all of these would flatten the rest.
  function limits(lines, chart, [from, to], trim) {
    const sign = chart.returns ? -1 : 1; // turned so that what diverges goes up
    const within = (line, key) => line[key].filter((value, at) => value != null && line.x[at] >= from && line.x[at] <= to).map((value) => sign * value);
    let means = lines.map((line) => within(line, "mean")).filter((one) => one.length);
    if (!means.length) return [0, 1];
    const low = Math.min(...means.flat());
    const usual = part(means.map((one) => part([...one].sort(ascending), 0.95)).sort(ascending), 0.5) - low;
    if (usual > 0 && !chart.share) {
      const staying = means.filter((one) => Math.max(...one) <= low + DIVERGING * usual);
      if (staying.length) means = staying;
    }
    const sorted = means.flat().sort(ascending);
    const high = Math.min(sorted[sorted.length - 1], chart.share ? 1 : low + DIVERGING * (usual || Infinity));
    const wide = part(sorted, 0.98) - part(sorted, 0.02);
    const most = trim && wide > 0 ? part(sorted, 0.98) + 0.25 * wide : Infinity;
    const room = 0.5 * (Math.min(high, most) - low) || 0.1 * Math.abs(high) || 0.05;
    let bottom = low, top = Math.min(high, most);
    const circles = lines.flatMap((line) => (line.fresh ? within(line.fresh, "mean") : []));
    const bounds = [...circles, ...lines.flatMap((line) => [...within(line, "low"), ...within(line, "high")])].sort(ascending);
    if (bounds.length) {
      bottom = Math.min(low, Math.max(bounds[0], low - room));
      top = Math.min(most, Math.max(high, Math.min(bounds[bounds.length - 1], high + room)));
    }
    const pad = 0.05 * (top - bottom) || room / 2;
    [bottom, top] = sign > 0 ? [bottom - pad, top + pad] : [-top - pad, -bottom + pad];
    if (chart.floor !== null && bottom < chart.floor) bottom = chart.floor; // no loss and no share below 0
    if (chart.share && top > 1) top = 1 + 0.02 * (1 - bottom);
    return [bottom, top];
  }

  class Board {
    constructor(root) {
      this.root = root;
      const data = JSON.parse(root.querySelector("script").textContent);
      Object.assign(this, data);
      for (const chart of this.charts) for (const line of chart.lines) line.x = steps(line.x);
      this.end = Math.max(...this.charts.flatMap((chart) => chart.lines.map((line) => line.x[line.x.length - 1] ?? 0)), 1);
      this.chosen = new Set(this.first);
      this.width = 1;
      this.window = null; // what is shown of the x axis; null for all
      this.panels = [];
      this.sync = uPlot.sync(root.id);
      this.controls();
      for (const place of root.querySelectorAll("[data-chart]")) this.panels.push(new Panel(this, place));
    }
    controls() {
      for (const chip of this.root.querySelectorAll(".chip"))
        chip.addEventListener("click", () => {
          const index = +chip.dataset.system;
          this.chosen.has(index) ? this.chosen.delete(index) : this.chosen.add(index);
          this.choose(this.chosen);
        });
      const presets = { all: () => this.systems.map((_, index) => index), none: () => [], first: () => this.first };
      for (const button of this.root.querySelectorAll("[data-choose]"))
        button.addEventListener("click", () => this.choose(new Set(presets[button.dataset.choose]())));
      const slider = this.root.querySelector("input[type=range]");
      slider?.addEventListener("input", () => {
        this.width = 2 * +slider.value + 1;
        slider.nextElementSibling.textContent = this.width > 1 ? `${this.width} points` : "off";
        this.redraw();
      });
      const moves = { in: () => this.zoom(0.5), out: () => this.zoom(2), left: () => this.pan(-0.25), right: () => this.pan(0.25), reset: () => this.reset() };
      for (const button of this.root.querySelectorAll("[data-move]"))
        button.addEventListener("click", () => moves[button.dataset.move]());
      this.root.addEventListener("keydown", (event) => {
        const move = { "+": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "reset" }[event.key];
        if (!move || !event.target.closest(".panel")) return;
        event.preventDefault();
        moves[move]();
      });
    }
    choose(chosen) {
      this.chosen = chosen;
      for (const chip of this.root.querySelectorAll(".chip"))
        chip.setAttribute("aria-pressed", chosen.has(+chip.dataset.system));
      this.redraw();
    }
    shown() { return this.window ?? [0, this.end]; }
    zoom(factor, around) {
      const [from, to] = this.shown(), at = around ?? (from + to) / 2;
      this.show(at - (at - from) * factor, at + (to - at) * factor);
    }
    pan(share) {
      const [from, to] = this.shown();
      const by = Math.max(-from, Math.min(this.end - to, share * (to - from)));
      this.show(from + by, to + by);
    }
    show(from, to) {
      from = Math.max(0, from);
      to = Math.min(this.end, to);
      if (to - from < this.end / 1e5) return;
      this.window = from <= 0 && to >= this.end ? null : [from, to];
      for (const panel of this.panels) panel.rescale();
    }
    reset() {
      this.window = null;
      for (const panel of this.panels) { panel.heights = null; panel.rescale(); }
    }
    redraw() { for (const panel of this.panels) panel.rebuild(); }
  }

  class Panel {
    constructor(board, place) {
      this.board = board;
      this.place = place;
      this.chart = board.charts[+place.dataset.chart];
      this.own = place.dataset.only === undefined ? null : +place.dataset.only;
      this.heights = null; // what a person has chosen of the y axis
      place.tabIndex = 0;
      this.tip = place.appendChild(make("div", "tip"));
      this.tip.hidden = true;
      sight.observe(place);
      this.gestures();
    }
    lines() {
      const { board, chart } = this;
      const wanted = this.own === null ? board.chosen : new Set([this.own, board.reference]);
      const found = chart.lines.filter((line) => wanted.has(line.system));
      found.sort((a, b) => (a.system === this.own) - (b.system === this.own)); // a panel's own system on top
      return found.map((line) => ({ ...line, ...Object.fromEntries(["mean", "low", "high"].map((key) => [key, smooth(line[key], board.width)])) }));
    }
    // Whose limits the y axis has: charts of one system each share them with all that met the same problem.
    beside(lines) {
      const { alike } = this.board;
      return this.own !== null && alike.includes(this.own) ? this.chart.lines.filter((line) => alike.includes(line.system)) : lines;
    }
    height() { return this.place.clientHeight; }
    build() {
      if (this.plot) return;
      const { board, chart, place } = this, dark = scheme.matches;
      const lines = this.drawn = this.lines();
      place.classList.toggle("empty", !lines.some((line) => line.mean.length));
      if (!lines.length || !place.clientWidth) return;
      const small = place.classList.contains("small");
      const ink = css("--ink"), muted = css("--muted"), grid = css("--rule");
      const series = [{}], bands = [];
      for (const line of lines) {
        const look = board.systems[line.system], faint = this.own !== null && line.system !== this.own;
        line.hue = faint ? muted : dark ? look.dark : look.light;
        line.dash = faint ? [3, 3] : this.own !== null ? [] : DASHES[look.dash];
        line.mark = this.own !== null ? "none" : SHAPES[look.mark];
        const at = series.length, alone = line.mean.filter((value) => value != null).length === 1;
        series.push(
          { stroke: line.hue, width: faint ? 1.25 : 2, dash: line.dash, spanGaps: true, points: { show: alone, size: 7, fill: line.hue } },
          { stroke: null, width: 0, spanGaps: true, points: { show: false } },
          { stroke: null, width: 0, spanGaps: true, points: { show: false } },
        );
        if (!faint && lines.length <= NEAR) bands.push({ series: [at + 2, at + 1], fill: `${line.hue}2e` });
      }
      const tables = lines.map((line) => [line.x, line.mean, line.low, line.high]);
      const data = tables.length > 1 ? uPlot.join(tables) : tables[0];
      const font = "12px system-ui, sans-serif";
      const common = { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 }, border: { show: true, stroke: muted, width: 1 } };
      this.plot = new uPlot({
        width: place.clientWidth, height: this.height(), padding: [8, 20, 0, 2],
        legend: { show: false }, pxAlign: 1,
        cursor: {
          drag: { x: true, y: true, uni: 30, setScale: false }, points: { show: false }, y: false,
          sync: { key: board.sync.key, setSeries: false, scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
          bind: { dblclick: () => () => { board.reset(); return null; }, mousedown: (_, __, next) => (event) => event.shiftKey || event.button ? null : next(event) },
        },
        scales: { x: { time: false, range: () => board.shown() }, y: { range: () => this.heights ?? limits(this.beside(lines), chart, board.shown(), chart.returns || (this.own !== null && !chart.share)) } },
        axes: [
          { ...common, grid: { show: false }, space: small ? 60 : 70, size: 28, gap: 3, values: (_, found) => ticks(found, false) },
          { ...common, space: 26, size: (plot, found) => Math.max(30, 12 + 7 * Math.max(0, ...(found ?? []).map((one) => one.length))), gap: 4, values: (_, found) => ticks(found, chart.share) },
        ],
        series, bands,
        hooks: { draw: [(plot) => this.marks(plot)], setCursor: [() => this.readout()], setSelect: [(plot) => this.select(plot)] },
      }, data, place);
      place.setAttribute("aria-label", `${chart.words}${chart.layer ? `, ${chart.layer}` : ""}: ${lines.map((line) => board.systems[line.system].label).join("; ")}`);
    }
    rebuild() {
      const seen = this.plot;
      this.plot?.destroy();
      this.plot = null;
      this.tip.hidden = true;
      if (seen || this.place.classList.contains("seen")) this.build();
    }
    rescale() { this.plot?.setData(this.plot.data); }
    // Marks along each line, so that it can be told from the others without colour.
    marks(plot) {
      const ctx = plot.ctx, ratio = devicePixelRatio, size = 4 * ratio;
      const [from, to] = this.board.shown();
      ctx.save();
      ctx.beginPath();
      ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
      ctx.clip();
      this.drawn.forEach((line, order) => {
        if (line.mark === "none") return;
        const inside = line.x.map((_, place) => place).filter((place) => line.x[place] >= from && line.x[place] <= to && line.mean[place] != null);
        const every = Math.max(1, Math.round(inside.length / 6)), offset = Math.round((every * order) / this.drawn.length);
        ctx.fillStyle = ctx.strokeStyle = line.hue;
        ctx.lineWidth = 1.5 * ratio;
        for (let place = offset; place < inside.length; place += every) {
          const at = inside[place];
          shape(ctx, line.mark, plot.valToPos(line.x[at], "x", true), plot.valToPos(line.mean[at], "y", true), size);
        }
      });
      for (const { fresh, hue } of this.drawn.filter((line) => line.fresh)) { // networks that begin anew at a task
        ctx.strokeStyle = hue;
        ctx.lineWidth = 1.5 * ratio;
        fresh.x.forEach((x, at) => {
          if (x < from || x > to || fresh.mean[at] == null) return;
          ctx.beginPath();
          ctx.arc(plot.valToPos(x, "x", true), plot.valToPos(fresh.mean[at], "y", true), size, 0, 2 * Math.PI);
          ctx.stroke();
        });
      }
      const { min, max } = plot.scales.y;
      const beyond = this.drawn.filter((line) => !line.mean.some((value, at) => value >= min && value <= max && line.x[at] >= from && line.x[at] <= to));
      if (beyond.length) { // never out of sight without a word
        const names = this.own === null ? `: ${beyond.map((line) => this.board.systems[line.system].label).join("; ")}` : "";
        ctx.fillStyle = css("--muted");
        ctx.font = `${12 * ratio}px system-ui, sans-serif`;
        ctx.textAlign = "left";
        ctx.textBaseline = "top";
        ctx.fillText(`beyond the axis${names}`, plot.bbox.left + 6 * ratio, plot.bbox.top + 4 * ratio);
      }
      ctx.restore();
    }
    readout() {
      const { plot, tip, board, chart } = this;
      if (!plot || !this.place.matches(":hover, :focus-within") || plot.cursor.left < 0 || plot.cursor.idx == null) { tip.hidden = true; return; }
      const step = plot.data[0][plot.cursor.idx];
      const rows = this.drawn.map((line) => ({ line, at: line.x.indexOf(step) })).filter(({ line, at }) => at >= 0 && line.mean[at] != null);
      const height = plot.posToVal(plot.cursor.top, "y");
      rows.sort((a, b) => Math.abs(a.line.mean[a.at] - height) - Math.abs(b.line.mean[b.at] - height));
      const near = rows.slice(0, NEAR).sort((a, b) => b.line.mean[b.at] - a.line.mean[a.at]);
      tip.replaceChildren(make("div", "at", `${step.toLocaleString("en")} ${board.unit}`));
      for (const { line, at } of near) {
        const row = tip.appendChild(make("div", "row"));
        row.append(keyOf(board.systems[line.system]), make("span", "who", board.systems[line.system].label));
        const value = row.appendChild(make("span", "value", said(line.mean[at], chart.share)));
        if (line.low[at] != null) value.append(make("span", "bounds", ` ${said(line.low[at], chart.share)} to ${said(line.high[at], chart.share)}`));
      }
      if (rows.length > near.length) tip.append(make("div", "at", `and ${rows.length - near.length} further from the pointer`));
      if (board.width > 1) tip.append(make("div", "at", `mean of ${board.width} points`));
      tip.hidden = !near.length;
      const room = this.place.clientWidth, left = plot.bbox.left / devicePixelRatio + plot.cursor.left;
      const wide = tip.offsetWidth;
      tip.style.left = `${Math.max(0, Math.min(room - wide, left < room / 2 ? left + 14 : left - wide - 14))}px`;
      tip.style.top = `${this.height() < 2 * tip.offsetHeight ? this.height() - 4 : 8}px`;
    }
    select(plot) {
      const { left, top, width, height } = plot.select;
      if (width > 3 || height > 3) {
        const low = plot.posToVal(top + height, "y"), high = plot.posToVal(top, "y");
        if (height < plot.bbox.height / devicePixelRatio - 1) this.heights = [low, high];
        const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
        plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        width > 3 ? this.board.show(from, to) : this.rescale();
      }
    }
    // The wheel with Ctrl and two fingers zoom; dragging with Shift and two fingers pan. One finger scrolls the page.
    gestures() {
      const { place, board } = this;
      const at = (clientX) => this.plot.posToVal(clientX - this.plot.over.getBoundingClientRect().left, "x");
      place.addEventListener("wheel", (event) => {
        if (!this.plot || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        board.zoom(Math.exp(0.003 * event.deltaY), at(event.clientX));
      }, { passive: false });
      place.addEventListener("mouseleave", () => { this.tip.hidden = true; });
      place.addEventListener("mousedown", (event) => {
        if (!this.plot || !event.shiftKey) return;
        event.preventDefault();
        let last = event.clientX;
        const move = (moved) => { board.pan((last - moved.clientX) / this.plot.over.clientWidth); last = moved.clientX; };
        addEventListener("mousemove", move);
        addEventListener("mouseup", () => removeEventListener("mousemove", move), { once: true });
      });
      let fingers = null;
      const spread = (event) => [...event.touches].map((touch) => touch.clientX).sort((a, b) => a - b);
      place.addEventListener("touchstart", (event) => { fingers = this.plot && event.touches.length === 2 ? spread(event).map(at) : null; }, { passive: true });
      place.addEventListener("touchmove", (event) => {
        if (!fingers || event.touches.length !== 2) return;
        event.preventDefault();
        const box = this.plot.over.getBoundingClientRect(), [left, right] = spread(event).map((x) => (x - box.left) / box.width);
        const scale = (fingers[1] - fingers[0]) / Math.max(right - left, 0.05); // what the fingers held stays under them
        const from = fingers[0] - left * scale;
        board.show(from, from + scale);
      }, { passive: false });
    }
  }

  function shape(ctx, kind, x, y, size) {
    ctx.beginPath();
    if (kind === "circle") ctx.arc(x, y, size, 0, 2 * Math.PI);
    else if (kind === "square") ctx.rect(x - size, y - size, 2 * size, 2 * size);
    else if (kind === "cross") { ctx.moveTo(x - size, y - size); ctx.lineTo(x + size, y + size); ctx.moveTo(x - size, y + size); ctx.lineTo(x + size, y - size); }
    else {
      const corners = kind === "triangle" ? [[0, -1.2], [1.1, 0.9], [-1.1, 0.9]] : [[0, -1.35], [1.35, 0], [0, 1.35], [-1.35, 0]];
      corners.forEach(([right, down], place) => ctx[place ? "lineTo" : "moveTo"](x + size * right, y + size * down));
      ctx.closePath();
    }
    kind === "cross" ? ctx.stroke() : ctx.fill();
  }
  // The piece of line that stands for a system: in chips, tables and readouts alike, copied from the page's own.
  const keys = new Map();
  function keyOf(look) {
    const id = `${look.light} ${look.dash} ${look.mark}`;
    if (!keys.has(id)) keys.set(id, document.querySelector(`svg[data-key="${id}"]`));
    return keys.get(id)?.cloneNode(true) ?? make("span");
  }

  const boards = [];
  const owner = (place) => boards.flatMap((board) => board.panels).find((panel) => panel.place === place);
  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries)
      if (entry.isIntersecting) { entry.target.classList.add("seen"); owner(entry.target)?.build(); }
  }, { rootMargin: "300px" });
  for (const root of document.querySelectorAll(".board")) boards.push(new Board(root));
  scheme.addEventListener("change", () => boards.forEach((board) => board.redraw()));
  let waiting, wide = innerWidth;
  addEventListener("resize", () => { // a telephone that scrolls changes its height alone
    if (innerWidth === wide) return;
    wide = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => boards.forEach((board) => board.redraw()), 120);
  });
  document.addEventListener("toggle", (event) => { // panels in a part that was folded have had no size
    if (event.target.open) for (const place of event.target.querySelectorAll(".panel.seen")) owner(place)?.build();
  }, true);
})();
