"use strict";
// Shared by the other scripts: compressed payloads, number formats, elements. Everything that comes from data goes into
// the page as text (textContent, setAttribute), never as HTML.
const report = {};

report.payload = (() => {
  const known = new Map();
  const read = async (name) => {
    const packed = atob(document.getElementById(`data-${name}`).textContent.trim());
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  return (name) => {
    if (!known.has(name)) known.set(name, read(name));
    return known.get(name);
  };
})();

// A column of bench/report/columns.py as {length, at(i), entries, codes}; entries and codes are null where it is plain.
report.column = (packed) => {
  if (packed.values) {
    return { length: packed.values.length, at: (i) => packed.values[i], entries: null, codes: null };
  }
  const { entries, codes } = packed;
  return { length: codes.length, at: (i) => (codes[i] < 0 ? null : entries[codes[i]]), entries, codes };
};

// make("td", {class: "x", "data-y": 1, text: "..."}, child, ...)
report.make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
};

// As %.4g in the tables of the command line.
report.number = (value, digits = 4) => {
  if (value === null || value === undefined) return "-";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "-";
  if (value !== 0 && (Math.abs(value) >= 10 ** digits || Math.abs(value) < 1e-4)) {
    return Number(value.toPrecision(digits)).toExponential().replace("e+", "e");
  }
  return String(Number(value.toPrecision(digits)));
};

report.lookOf = (name) => report.looks.find((look) => look.name === name) ?? { name, label: name, dash: [] };

report.isShare = (metric) => metric.includes("accuracy");

report.value = (metric, value, digits = 4) => {
  if (value === null || value === undefined) return "-";
  if (report.isShare(metric)) return `${(100 * value).toFixed(digits > 4 ? 4 : 2)} %`;
  if (metric === "steps_to_target") return Number.isFinite(value) ? String(value) : "missed";
  return report.number(value, digits);
};

const METRIC_LABELS = { train_loss: "training objective", steps_to_target: "steps to target", batch_loss: "mini-batch loss" };
report.label = (metric) => METRIC_LABELS[metric] ?? metric.replaceAll("_", " ");

report.options = (select, values, label = (value) => value) => {
  select.replaceChildren(...values.map((value) => report.make("option", { value, text: label(value) })));
};
