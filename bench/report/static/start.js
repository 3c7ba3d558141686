"use strict";
// Starts everything, one part after the other, so that the first tables can be used at once.
(async () => {
  const root = document.documentElement;
  const alert = (what, error) => {
    const box = document.getElementById("alert");
    box.hidden = false;
    box.textContent = `${what} could not be shown: ${error}`;
  };
  if (typeof DecompressionStream === "undefined") {
    alert("Figures and members", "this browser is too old (it lacks DecompressionStream); the tables below are complete.");
    return;
  }
  report.looks = (await report.payload("charts")).looks;
  document.querySelectorAll("table.sortable").forEach(report.sortable);
  const parts = { "Values of seeds": report.startSeeds, Figures: report.startCharts, Members: report.startMembers, Claims: report.startClaims };
  for (const [what, start] of Object.entries(parts)) {
    try {
      await start();
    } catch (error) {
      alert(what, error);
      console.error(error);
    }
    await new Promise((resolve) => setTimeout(resolve)); // let the browser draw
  }
  root.dataset.readyAfter = Math.round(performance.now());
})();
