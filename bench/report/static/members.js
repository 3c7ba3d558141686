"use strict";
// The table of members: search and filters over dictionary-encoded columns, one page of rows at a time.
report.startMembers = async () => {
  const data = await report.payload("members");
  const make = report.make;
  const columns = Object.fromEntries(Object.entries(data.columns).map(([name, packed]) => [name, report.column(packed)]));
  const count = columns.member_id.length;
  const by = (id) => document.getElementById(id);
  const SEARCHED = ["member_id", "problem", "optimizer", "phase", "status", "seed", "hyperparameters", "error", "environment", "template"];
  const FILTERS = ["problem", "optimizer", "phase", "status"];
  const SIZE = 25;
  const shown = ["member_id", "problem", "optimizer", "phase", "seed", "status", ...data.metrics, "hyperparameters"];
  const state = { rows: [], page: 0, sort: null, direction: 1, open: null };

  // Which rows have `word` in a column: decided once per dictionary entry, not once per row.
  const matches = (name, test) => {
    const column = columns[name];
    if (!column.codes) return (i) => { const v = column.at(i); return v !== null && test(String(v)); };
    const entries = column.entries.map((entry) => test(String(entry)));
    return (i) => column.codes[i] >= 0 && entries[column.codes[i]];
  };
  const select = () => {
    const tests = by("member-search").value.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
      const any = SEARCHED.map((name) => matches(name, (text) => text.toLowerCase().includes(word)));
      return (i) => any.some((match) => match(i));
    });
    for (const name of FILTERS) {
      const wanted = by(`member-${name}`).value;
      if (wanted) tests.push(matches(name, (text) => text === wanted));
    }
    const rows = [];
    for (let i = 0; i < count; i++) if (tests.every((test) => test(i))) rows.push(i);
    if (state.sort) {
      const { at } = columns[state.sort];
      const value = rows.map(at);
      const order = rows.map((_, i) => i);
      order.sort((i, j) => {
        const [a, b] = [value[i], value[j]];
        if (a === null || b === null) return (a === null) - (b === null) || i - j;
        return state.direction * (a < b ? -1 : a > b ? 1 : 0) || i - j;
      });
      state.rows = order.map((i) => rows[i]);
    } else state.rows = rows;
    state.page = 0;
    draw();
  };

  const settings = (i) => {
    const text = columns.hyperparameters.at(i);
    return text ? Object.entries(JSON.parse(text)).map(([name, value]) => `${name}=${value}`).join(" ") : "";
  };
  const text = (name, i, digits = 4) => {
    const value = columns[name].at(i);
    if (name === "hyperparameters") return settings(i);
    return data.metrics.includes(name) ? report.value(name, value, digits) : value === null ? "-" : String(value);
  };
  const spec = (i) => {
    const [template, own] = [columns.template.at(i), columns.hyperparameters.at(i)];
    if (!own) return template;
    return template.replace(`"${data.hyperparameters}"`, () => own).replace(`"${data.seed}"`, () => columns.seed.at(i));
  };
  const facts = (names, packed) => {
    const values = JSON.parse(packed);
    return names.map((name, i) => [name.replaceAll("_", " "), values[i] === null ? "-" : String(values[i])]);
  };
  const details = (i) => {
    const id = columns.member_id.at(i);
    const command = /^[0-9a-z]+$/.test(id) ? data.command.replace("@id", () => id) : "";
    const code = make("code", { class: "command", text: command });
    const copy = make("button", { type: "button", class: "small", text: "copy" });
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command);
        copy.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code); // no clipboard here: select it, to be copied by hand
      }
    });
    const pairs = [
      ...(columns.error.at(i) === null ? [] : [["error", columns.error.at(i)]]),
      ...(columns.diverged_step.at(i) === null ? [] : [["diverged at step", String(columns.diverged_step.at(i))]]),
      ["setting", settings(i)],
      ...data.metrics.map((name) => [report.label(name), text(name, i, 6)]),
      ...facts(data.environment, columns.environment.at(i)),
      ...facts(data.stack, columns.stack.at(i)),
    ];
    return make("div", { class: "details" },
      make("p", { text: "Computes it again, alone, and compares:" }), make("p", {}, code, " ", copy),
      make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })])),
      make("p", { text: "Specification; the first 16 digits of its SHA-256 are the member's id:" }),
      make("pre", { class: "spec", text: spec(i) }));
  };
  const row = (i) => {
    const id = columns.member_id.at(i);
    const button = make("button", { type: "button", class: "link", "aria-expanded": String(state.open === i), text: id });
    button.addEventListener("click", () => {
      state.open = state.open === i ? null : i;
      draw();
      by("member-table").querySelector(`button[aria-expanded][data-row="${i}"]`)?.focus();
    });
    button.dataset.row = i;
    const cells = shown.slice(1).map((name) => make("td", { class: data.metrics.includes(name) || name === "seed" ? "number" : name, text: text(name, i) }));
    const rows = [make("tr", { class: `is-${columns.status.at(i)}` }, make("th", { scope: "row" }, button), ...cells)];
    if (state.open === i) rows.push(make("tr", { class: "open" }, make("td", { colspan: shown.length }, details(i))));
    return rows;
  };
  const draw = () => {
    const pages = Math.max(1, Math.ceil(state.rows.length / SIZE));
    const first = state.page * SIZE;
    const part = state.rows.slice(first, first + SIZE);
    by("member-table").tBodies[0].replaceChildren(...part.flatMap(row));
    by("member-count").textContent = state.rows.length
      ? `${first + 1} to ${first + part.length} of ${state.rows.length.toLocaleString("en")} members` + (state.rows.length < count ? ` (${count.toLocaleString("en")} in all)` : "")
      : `none of ${count.toLocaleString("en")} members`;
    by("member-page").textContent = `page ${state.page + 1} of ${pages}`;
    for (const id of ["member-first", "member-previous"]) by(id).disabled = state.page === 0;
    for (const id of ["member-next", "member-last"]) by(id).disabled = state.page === pages - 1;
  };
  const go = (page) => { state.page = page; draw(); };

  const head = shown.map((name) => {
    const button = make("button", { type: "button", text: name === "member_id" ? "member" : name === "hyperparameters" ? "setting" : report.label(name) });
    const cell = make("th", { scope: "col", "aria-sort": "none" }, button);
    button.addEventListener("click", () => {
      state.direction = state.sort === name ? -state.direction : report.isShare(name) ? -1 : 1;
      state.sort = name;
      head.forEach((other) => other.setAttribute("aria-sort", "none"));
      cell.setAttribute("aria-sort", state.direction > 0 ? "ascending" : "descending");
      select();
    });
    return cell;
  });
  by("member-table").tHead.replaceChildren(make("tr", {}, ...head));
  for (const name of FILTERS) {
    const values = columns[name].entries ?? [...new Set(Array.from({ length: count }, (_, i) => columns[name].at(i)))];
    by(`member-${name}`).append(...[...values].sort().map((value) => make("option", { value, text: value })));
    by(`member-${name}`).addEventListener("change", select);
  }
  let timer = 0;
  by("member-search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(select, 120); });
  by("member-first").addEventListener("click", () => go(0));
  by("member-previous").addEventListener("click", () => go(state.page - 1));
  by("member-next").addEventListener("click", () => go(state.page + 1));
  by("member-last").addEventListener("click", () => go(Math.ceil(state.rows.length / SIZE) - 1));
  for (const button of document.querySelectorAll("button[data-find]")) { // "show them" elsewhere on the page
    button.disabled = false;
    button.addEventListener("click", () => {
      const wanted = JSON.parse(button.dataset.find);
      by("member-search").value = "";
      for (const name of FILTERS) by(`member-${name}`).value = wanted[name] ?? "";
      select();
      by("members").scrollIntoView();
    });
  }
  select();
  const named = new URLSearchParams(location.hash.slice(1)).get("member"); // index.html#member=ID opens that one
  if (named) {
    by("member-search").value = named;
    select();
    if (state.rows.length === 1) [state.open] = state.rows;
    draw();
    by("members").scrollIntoView();
  }
};
