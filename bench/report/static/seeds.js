"use strict";
// The values of all seeds of one row of the leaderboard: on hover and focus, and kept open by a click or a tap.
report.startSeeds = async () => {
  const rows = await report.payload("seeds");
  const box = document.getElementById("seed-values");
  let pinned = null;

  const fill = (row) => {
    const lost = row.values.filter((value) => value === null).length;
    const missed = row.metric === "steps_to_target" ? "missed the target" : "without a value";
    const items = row.seeds.map((seed, i) => {
      const step = row.diverged[i];
      const text = row.values[i] !== null ? report.value(row.metric, row.values[i]) : step !== null ? `diverged at ${step}` : "missed";
      return report.make("li", {}, report.make("span", { class: "seed", text: `seed ${seed}` }), report.make("span", { text }));
    });
    const summary = `${row.seeds.length} seeds` + (lost ? `, ${lost} ${missed}` : "");
    const more = row.iqm === null ? "" : `; interquartile mean ${report.value(row.metric, row.iqm)}`;
    box.replaceChildren(
      report.make("p", { class: "seed-title", text: `${report.lookOf(row.optimizer).label} on ${row.problem}: ${report.label(row.metric)}` }),
      report.make("p", { text: summary + more }),
      report.make("ul", {}, ...items),
    );
  };
  const place = (button) => {
    const at = button.getBoundingClientRect();
    const narrow = window.innerWidth <= 700; // a sheet across the page, where the value is not
    box.classList.toggle("above", narrow && at.top > window.innerHeight / 2);
    if (narrow) {
      box.style.left = box.style.top = "";
      return;
    }
    const own = box.getBoundingClientRect();
    const below = at.bottom + 6 + own.height <= window.innerHeight;
    box.style.left = `${Math.max(8, Math.min(at.left, window.innerWidth - own.width - 8))}px`;
    box.style.top = `${Math.max(8, below ? at.bottom + 6 : at.top - own.height - 6)}px`;
  };
  const show = (button) => {
    fill(rows[Number(button.dataset.seeds)]);
    box.hidden = false;
    place(button);
  };
  const hide = () => {
    box.hidden = true;
    if (pinned) pinned.setAttribute("aria-expanded", "false");
    pinned = null;
    box.classList.remove("pinned");
  };
  for (const button of document.querySelectorAll("button[data-seeds]")) {
    button.disabled = false;
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && !pinned && show(button));
    button.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !pinned && hide());
    button.addEventListener("focus", () => !pinned && button.matches(":focus-visible") && show(button));
    button.addEventListener("blur", () => !pinned && hide());
    button.addEventListener("click", () => {
      const again = pinned === button;
      hide();
      if (again) return;
      show(button);
      pinned = button;
      box.classList.add("pinned"); // only then it takes clicks and touches, and scrolls
      button.setAttribute("aria-expanded", "true");
    });
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("pointerdown", (event) => {
    if (pinned && !box.contains(event.target) && !event.target.closest("button[data-seeds]")) hide();
  });
  window.addEventListener("scroll", () => (pinned ? place(pinned) : hide()), { passive: true });
};
