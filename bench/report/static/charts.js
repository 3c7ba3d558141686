"use strict";
// The three interactive figures: learning curves, performance profiles, step-size sensitivity.
report.startCharts = async () => {
  const data = await report.payload("charts");
  report.charts = {};
  const by = (id) => document.getElementById(id);
  const distinct = (values) => [...new Set(values)];
  const look = (name) => report.looks.findIndex((entry) => entry.name === name);
  const numbers = (values) => values.map((v) => (v === "inf" ? Infinity : v));
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";
  const onPress = (button, draw) => {
    button.disabled = false;
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!pressed(button)));
      draw();
    });
  };
  const drawn = (name, host, options) => {
    if (report.charts[name]) report.charts[name].update(options);
    else report.charts[name] = report.chart(host, options);
  };

  const curves = () => {
    const [problem, metric, band] = [by("curve-problem"), by("curve-metric"), by("curve-band")];
    if (!data.curves.length) return;
    const preferred = ["val_accuracy", "val_loss", "batch_loss"];
    const rank = (name) => (preferred.indexOf(name) + preferred.length + 1) % (preferred.length + 1);
    const own = () => data.curves.filter((c) => c.problem === problem.value);
    const metrics = () => {
      const names = distinct(own().map((c) => c.metric)).sort((a, b) => rank(a) - rank(b));
      const before = metric.value;
      report.options(metric, names, report.label);
      if (names.includes(before)) metric.value = before;
    };
    const draw = () => {
      const [low, high] = band.value.split(" ").map(Number);
      const chosen = own().filter((c) => c.metric === metric.value);
      const middle = (data.quantiles.length - 1) / 2;
      const percent = report.isShare(metric.value);
      const yLog = pressed(by("curve-y"));
      const error = percent && yLog; // accuracies near 1 differ in what is left to 1: a log axis shows that
      const values = (list) => numbers(list).map((v) => (error && v !== null ? 1 - v : v));
      const name = error ? report.label(metric.value).replace("accuracy", "error") : report.label(metric.value);
      const ends = error ? [high, low] : [low, high];
      const strands = !pressed(by("curve-seeds")) ? [] : chosen.flatMap((c) =>
        c.seeds.map(([, x, y]) => ({ name: c.optimizer, look: look(c.optimizer), x, y: values(y) })));
      drawn("curves", by("curve-chart"), {
        title: `${name} on ${problem.value} along training`,
        xLabel: "step", yLabel: name, percent, xLog: pressed(by("curve-x")), yLog,
        hint: "Last evaluation. Move over the plot for others; drag to zoom, double click to go back.",
        strands,
        series: chosen.map((c) => ({
          name: c.optimizer, look: look(c.optimizer), x: c.steps, y: values(c.lines[middle]),
          low: values(c.lines[ends[0]]), high: values(c.lines[ends[1]]),
          note: (i) => (c.measured[i] < c.n ? `${c.measured[i]} of ${c.n} seeds` : ""),
        })),
      });
    };
    report.options(problem, distinct(data.curves.map((c) => c.problem)));
    metrics();
    problem.addEventListener("change", () => { metrics(); draw(); });
    metric.addEventListener("change", draw);
    band.addEventListener("change", draw);
    ["curve-x", "curve-y", "curve-seeds"].forEach((id) => onPress(by(id), draw));
    draw();
  };

  const profiles = () => {
    if (!data.profiles.length) return;
    const draw = () => drawn("profiles", by("profile-chart"), {
      title: "Performance profiles", xLabel: "factor τ", yLabel: "runs at the target", percent: true,
      xLog: pressed(by("profile-x")), stepped: true, yMin: -0.02, yMax: 1.04,
      hint: "At the largest τ. Move over the plot for others.",
      series: data.profiles.map((p) => ({
        name: p.optimizer, look: look(p.optimizer), x: p.tau, y: p.share, low: p.share_low, high: p.share_high,
      })),
    });
    onPress(by("profile-x"), draw);
    draw();
  };

  const sensitivity = () => {
    if (!data.sensitivity.length) return;
    const [problem, against, table] = [by("sensitivity-problem"), by("sensitivity-against"), by("sensitivity-table")];
    const names = { lr: "step size", momentum: "momentum", effective_step: "effective step α/(1−β)" };
    const own = () => data.sensitivity.filter((s) => s.problem === problem.value);
    const choices = () => {
      const before = against.value;
      const found = distinct(own().map((s) => s.against));
      report.options(against, found, (name) => names[name] ?? name);
      if (found.includes(before)) against.value = before;
    };
    const draw = () => {
      const chosen = own().filter((s) => s.against === against.value);
      const points = (s, name) => s.points.map((p) => p[name] ?? null);
      drawn("sensitivity", by("sensitivity-chart"), {
        title: `Training objective against ${names[against.value]} on ${problem.value}`,
        xLabel: names[against.value] ?? against.value, yLabel: "training objective",
        xLog: against.value !== "momentum", yLog: pressed(by("sensitivity-y")), points: true,
        hint: "At the largest value. Crosses at the upper edge: the median seed diverged.",
        crosses: chosen.flatMap((s) => s.points.filter((p) => p.median === null).map((p) =>
          ({ name: s.optimizer, look: look(s.optimizer), x: p.x }))),
        series: chosen.map((s) => ({
          name: s.optimizer, look: look(s.optimizer), x: points(s, "x"), y: points(s, "median"),
          low: points(s, "low").map((v, i) => (v === null && s.points[i].median === null ? null : v)),
          high: points(s, "high").map((v, i) => (v === null && s.points[i].median !== null ? Infinity : v)),
          note: (i) => (s.points[i].n_diverged ? `${s.points[i].n_diverged} of ${s.points[i].n} diverged` : ""),
        })),
      });
      table.tBodies[0].replaceChildren(...chosen.map((s) => report.make("tr", {},
        report.make("th", { scope: "row", text: report.lookOf(s.optimizer).label }),
        report.make("td", { text: report.number(s.best_x) }),
        report.make("td", { text: report.number(s.width_decades, 3) }),
        report.make("td", { text: s.share_diverged == null ? "-" : `${report.number(100 * s.share_diverged, 3)} %` }))));
    };
    report.options(problem, distinct(data.sensitivity.map((s) => s.problem)));
    choices();
    problem.addEventListener("change", () => { choices(); draw(); });
    against.addEventListener("change", draw);
    onPress(by("sensitivity-y"), draw);
    draw();
  };

  curves();
  profiles();
  sensitivity();
};
