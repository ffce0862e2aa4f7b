"use strict";
(() => {
  // Precision and recall: the curve of the class that is pointed at or chosen.
  for (const plot of document.querySelectorAll("[data-curves]")) {
    const curves = new Map([...plot.querySelectorAll("path[data-k]")].map(path => [path.dataset.k, path]));
    const buttons = [...plot.querySelectorAll("button[data-k]")];
    const show = number => {
      for (const [own, path] of curves) path.classList.toggle("chosen", own === number);
      if (curves.has(number)) curves.get(number).parentNode.append(curves.get(number));
    };
    const pressed = () => buttons.find(one => one.getAttribute("aria-pressed") === "true");
    for (const button of buttons) {
      button.addEventListener("pointerenter", () => show(button.dataset.k));
      button.addEventListener("focus", () => show(button.dataset.k));
      for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => show(pressed()?.dataset.k));
      button.addEventListener("click", () => {
        const was = button.getAttribute("aria-pressed") === "true";
        for (const one of buttons) one.setAttribute("aria-pressed", String(one === button && !was));
        show(was ? undefined : button.dataset.k);
      });
    }
  }

  // The gallery: filtered by class and kind of mistake, and enlarged.
  const filters = document.querySelector(".filters");
  if (filters) {
    const gallery = document.querySelector(".gallery");
    const cards = [...gallery.querySelectorAll(".card")];
    const apply = () => {
      const [number, kind] = [filters.elements.class.value, filters.elements.kind.value];
      const fits = pair => {
        const [own, its] = pair.split(":");
        return (!number || own === number) && (!kind || its === kind);
      };
      let shown = 0;
      for (const card of cards) {
        card.hidden = Boolean(number || kind) && !card.dataset.pairs.split(" ").some(pair => pair && fits(pair));
        shown += card.hidden ? 0 : 1;
        for (const box of card.querySelectorAll(".found")) box.classList.toggle("dim", Boolean(kind) && !box.classList.contains(kind));
      }
      gallery.classList.toggle("without-right", !filters.elements.right.checked);
      filters.querySelector("output").textContent = `${shown} of ${cards.length} images`;
    };
    filters.hidden = false;
    filters.addEventListener("change", apply);
    filters.addEventListener("submit", event => event.preventDefault());
    apply();
    for (const link of document.querySelectorAll("a[data-class]")) {
      link.addEventListener("click", () => {
        const option = [...filters.elements.class.options].find(one => one.value && one.text === link.dataset.class);
        filters.elements.class.value = option ? option.value : "";
        filters.elements.kind.value = "";
        apply();
      });
    }
    for (const button of gallery.querySelectorAll(".image")) {
      button.addEventListener("click", () => {
        const large = button.closest(".card").classList.toggle("large");
        button.setAttribute("aria-expanded", String(large));
      });
    }
  }

  // On paper everything is open.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
})();
