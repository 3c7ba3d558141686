"use strict";
// Claims: filters by verdict, family and words; figures are made into images when their section comes into view.
report.startClaims = async () => {
  const section = document.getElementById("claims");
  const by = (id) => document.getElementById(id);
  if (!by("claim-search")) return;
  const rows = [...section.querySelectorAll("tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const families = [...section.querySelectorAll(".family")];
  const filter = () => {
    const words = by("claim-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = by("claim-verdict").value;
    rows.forEach((row, i) => {
      row.hidden = !(words.every((word) => texts[i].includes(word)) && (!verdict || row.dataset.verdict === verdict));
    });
    const active = words.length > 0 || verdict !== "";
    for (const family of families) {
      const found = family.querySelectorAll("tbody tr:not([hidden])").length;
      family.hidden = found === 0;
      if (active) family.open = found > 0;
    }
    by("claim-count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} parts`;
  };
  by("claim-search").addEventListener("input", filter);
  by("claim-verdict").addEventListener("change", filter);
  filter();
  const figures = await report.payload("figures");
  for (const family of families) {
    const figure = family.querySelector("figure[data-figure]");
    if (!figure) continue;
    const load = () => {
      if (figure.querySelector("img")) return;
      const image = report.make("img", { alt: `Figure of the claims: ${family.querySelector("summary .title").textContent}` });
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(figures[figure.dataset.figure])}`;
      figure.prepend(image);
    };
    if (family.open) load();
    family.addEventListener("toggle", () => family.open && load());
  }
};
