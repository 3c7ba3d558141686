"use strict";
// One chart on uPlot: lines with bands, log axes, a legend of toggles that shows the values under the pointer.
//
// series:  [{name, look, x, y, low, high}], arrays of one length; look is an index into report.looks
// strands: [{look, x, y, name}], thin lines behind (single seeds);  crosses: [{look, x, name}], marks at the upper edge
report.chart = (host, first) => {
  const make = report.make;
  const hidden = new Set();
  const legend = make("div", { class: "legend", role: "group", "aria-label": "Show or hide" });
  const where = make("p", { class: "where", "aria-live": "polite" });
  const frame = make("div", { class: "plot", tabindex: "0", role: "group" });
  host.replaceChildren(legend, frame, where);
  let options = first;
  let plot = null;
  let buttons = [];

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (look) => css(`--series-${look}`);
  const visible = (item) => !hidden.has(item.name);
  const usable = (values, log) => values.filter((v) => v !== null && Number.isFinite(v) && (!log || v > 0));
  const format = (value) => report.number(options.percent ? 100 * value : value);

  // Range of what is shown between two x, from finite values only; infinite ends of bands are drawn beyond it.
  const range = (from = -Infinity, to = Infinity) => {
    let values = [];
    const within = (x, column) => column.filter((_, i) => x[i] >= from && x[i] <= to && (!options.xLog || x[i] > 0));
    for (const s of options.series.filter(visible)) {
      for (const column of [s.y, s.low ?? [], s.high ?? []]) values = values.concat(within(s.x, column));
    }
    for (const s of (options.strands ?? []).filter(visible)) values = values.concat(within(s.x, s.y));
    values = usable(values, options.yLog);
    if (!values.length) return options.yLog ? [0.1, 1] : [0, 1];
    let low = values.reduce((a, b) => Math.min(a, b));
    let high = values.reduce((a, b) => Math.max(a, b));
    if (options.yLog) {
      const margin = low < high ? (high / low) ** 0.04 : 2;
      return [low / margin, high * margin];
    }
    const margin = high > low ? 0.04 * (high - low) : 0.05 * (Math.abs(high) || 1);
    return [options.yMin ?? low - margin, options.yMax ?? high + margin];
  };
  const along = (low, high) => {
    if (!options.points || low === null) return [low, high]; // room for the points at both ends
    const margin = options.xLog ? (high / low) ** 0.02 : 0.02 * (high - low);
    return options.xLog ? [low / margin, high * margin] : [low - margin, high + margin];
  };
  const inside = (value, [low, high]) => {
    if (value === null || Number.isNaN(value)) return null;
    const far = options.yLog ? high / low : high - low;
    if (value === Infinity) return options.yLog ? high * far : high + far;
    return options.yLog && value <= 0 ? low / far : value;
  };
  const aligned = (limits) => {
    const tables = options.series.map((s) => {
      const kept = s.x.map((x, i) => i).filter((i) => !options.xLog || s.x[i] > 0);
      const column = (values) => kept.map((i) => inside(values[i], limits));
      return [kept.map((i) => s.x[i]), column(s.y), column(s.low ?? s.y), column(s.high ?? s.y)];
    });
    return tables.length ? uPlot.join(tables) : [[], []];
  };
  const behind = (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineWidth = devicePixelRatio;
    ctx.globalAlpha = 0.35;
    const limits = range();
    for (const strand of (options.strands ?? []).filter(visible)) {
      ctx.strokeStyle = colour(strand.look);
      ctx.beginPath();
      strand.x.forEach((x, i) => {
        const y = inside(strand.y[i], limits);
        if (y !== null && (!options.xLog || x > 0)) ctx.lineTo(u.valToPos(x, "x", true), u.valToPos(y, "y", true));
      });
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
    ctx.lineWidth = 2 * devicePixelRatio;
    (options.crosses ?? []).filter(visible).forEach((cross) => {
      const r = 4 * devicePixelRatio;
      const x = u.valToPos(cross.x, "x", true);
      const y = bbox.top + (3 + 3 * cross.look) * r;
      ctx.strokeStyle = colour(cross.look);
      ctx.beginPath();
      for (const side of [-1, 1]) {
        ctx.moveTo(x - r, y - side * r);
        ctx.lineTo(x + r, y + side * r);
      }
      ctx.stroke();
    });
    ctx.restore();
  };
  // Values at x (null: at the end) in the legend: of the point of each series that is nearest.
  const readOut = (x) => {
    where.textContent = x === null ? options.hint ?? "" : `${options.xLabel} ${report.number(x)}`;
    options.series.forEach((s, i) => {
      let at = s.x.length - 1;
      if (x !== null) s.x.forEach((own, j) => Math.abs(own - x) < Math.abs(s.x[at] - x) && (at = j));
      const ends = s.low ? ` [${format(s.low[at])}, ${format(s.high[at])}]` : "";
      const note = s.note ? ` ${s.note(at)}` : "";
      buttons[i].lastChild.textContent = at < 0 ? "-" : s.y[at] === null ? "-" : `${format(s.y[at])}${ends}${options.percent ? " %" : ""}${note}`;
    });
  };
  // Ticks of a log axis: few decades have ticks between them too, less than one decade has a linear axis's.
  const logTicks = (u, index, low, high) => {
    const decades = Math.log10(high / low);
    const ticks = [];
    if (decades < 0.9) {
      const rough = (high - low) / 4;
      const unit = 10 ** Math.floor(Math.log10(rough));
      const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
      for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(i * step);
      return ticks;
    }
    const stride = Math.ceil(decades / 8);
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += stride) {
      for (const factor of decades < 2.2 ? [1, 2, 5] : [1]) ticks.push(factor * 10 ** power);
    }
    return ticks.filter((tick) => tick >= low && tick <= high);
  };
  const axis = (label, log, percent) => ({
    label,
    labelSize: 18,
    labelGap: 2,
    ...(log ? { splits: logTicks, filter: (u, splits) => splits } : {}),
    labelFont: "13px system-ui, sans-serif",
    font: "12px system-ui, sans-serif",
    stroke: css("--text"),
    grid: { stroke: css("--line"), width: 1 },
    ticks: { stroke: css("--line"), width: 1 },
    values: (u, splits) => splits.map((v) => (v === null ? "" : percent ? report.number(100 * v) : report.number(v))),
  });
  const draw = () => {
    plot?.destroy();
    const limits = range();
    const series = [{}];
    const bands = [];
    options.series.forEach((s) => {
      const stroke = colour(s.look);
      const paths = options.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined;
      const edge = { stroke: "transparent", width: 0, points: { show: false }, show: visible(s), paths };
      series.push({
        label: s.name, stroke, width: 2.5, dash: report.looks[s.look].dash, show: visible(s), paths,
        points: { show: options.points ?? false, size: 7, fill: stroke },
      }, { ...edge }, { ...edge });
      if (s.low) bands.push({ series: [series.length - 1, series.length - 2], fill: stroke + "2e" });
    });
    const height = window.innerWidth <= 700 ? 280 : 360;
    plot = new uPlot({
      width: Math.max(240, frame.clientWidth), height, series, bands,
      padding: [10, 14, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false }, points: { show: false } },
      scales: {
        x: { time: false, distr: options.xLog ? 3 : 1, range: (u, low, high) => along(low, high) },
        y: { distr: options.yLog ? 3 : 1, range: (u) => range(u.scales.x.min ?? undefined, u.scales.x.max ?? undefined) },
      },
      axes: [
        { ...axis(options.xLabel, options.xLog, false), size: 30 },
        { ...axis(options.yLabel + (options.percent ? " (%)" : ""), options.yLog, options.percent),
          size: (u, values) => 22 + 7 * Math.max(3, ...(values ?? []).map((text) => text.length)) },
      ],
      hooks: {
        drawAxes: [behind],
        setCursor: [(u) => readOut(u.cursor.left >= 0 && u.cursor.idx != null ? u.data[0][u.cursor.idx] : null)],
      },
    }, aligned(limits), frame);
    const follow = (event) => {
      const at = plot.over.getBoundingClientRect();
      plot.setCursor({ left: event.touches[0].clientX - at.left, top: event.touches[0].clientY - at.top });
    };
    plot.over.addEventListener("touchstart", follow, { passive: true });
    plot.over.addEventListener("touchmove", follow, { passive: true });
    readOut(null);
  };
  const swatch = (look) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [name, value] of Object.entries({ class: "swatch", viewBox: "0 0 34 4", "aria-hidden": "true" })) svg.setAttribute(name, value);
    for (const [name, value] of Object.entries({ class: `stroke-${look}`, d: "M0 2h34", "stroke-width": 3, "stroke-dasharray": report.looks[look].dash.join(" ") })) line.setAttribute(name, value);
    svg.append(line);
    return svg;
  };
  const redraw = () => {
    frame.setAttribute("aria-label", `${options.title}. Arrow keys move along the ${options.xLabel} axis; values are in the legend.`);
    buttons = options.series.map((s) => {
      const button = make("button", { type: "button", "aria-pressed": String(visible(s)), "data-series": s.name },
        swatch(s.look), make("span", { class: "name", text: report.looks[s.look].label }),
        make("span", { class: "reading" }));
      button.addEventListener("click", () => {
        hidden.has(s.name) ? hidden.delete(s.name) : hidden.add(s.name);
        button.setAttribute("aria-pressed", String(visible(s)));
        draw();
      });
      return button;
    });
    legend.replaceChildren(...buttons);
    draw();
  };
  frame.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !plot.data[0].length) return;
    event.preventDefault();
    const last = plot.data[0].length - 1;
    const from = plot.cursor.left >= 0 ? plot.cursor.idx ?? last : step > 0 ? -1 : last + 1;
    const x = plot.data[0][Math.min(last, Math.max(0, from + step))];
    plot.setCursor({ left: plot.valToPos(x, "x"), top: 10 });
  });
  new ResizeObserver(() => plot && plot.width !== frame.clientWidth && frame.clientWidth >= 240 && plot.setSize({ width: frame.clientWidth, height: plot.height })).observe(frame);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  redraw();
  return {
    update: (next) => { options = next; redraw(); },
    shown: () => options.series.filter(visible).map((s) => s.name),
    plot: () => plot,
  };
};
