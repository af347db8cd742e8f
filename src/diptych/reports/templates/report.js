"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const one = (selector, inside = document) => inside.querySelector(selector);
  root.classList.add("has-script");

  function themes() {
    const button = one(".theme");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
    const update = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
    button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; update(); });
    dark.addEventListener("change", update);
    button.hidden = false;
    update();
  }

  function contents() {
    const menu = one(".menu");
    menu.addEventListener("click", (event) => { if (event.target.closest("a")) menu.open = false; });
    document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      one("summary", menu).focus();
    });
    const links = new Map(all(".contents a").map((link) => [link.hash.slice(1), link]));
    const sections = all("main > section");
    const show = () => {
      const seen = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3);
      const current = (seen.at(-1) ?? sections[0]).id;
      links.forEach((link, id) => {
        if (id === current) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      });
    };
    let waiting = false;
    addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; show(); });
    }, { passive: true });
    show();
  }

  function boxes() {
    const settle = (box) => {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
      box.classList.toggle("is-cut", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
    };
    const watch = new ResizeObserver((entries) => entries.forEach((entry) => settle(entry.target)));
    all(".scroll").forEach((box) => {
      watch.observe(box);
      box.addEventListener("scroll", () => settle(box), { passive: true });
    });
  }

  function copying() {
    all(".copy").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.copy);
        try {
          await navigator.clipboard.writeText(source.textContent);
          button.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(source);
          button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
    });
  }

  function tips() {
    const tip = one(".tip");
    let active = null;
    const hide = () => {
      active?.classList.remove("is-active");
      active = null;
      tip.hidden = true;
    };
    const show = (mark, x, y) => {
      if (active !== mark) {
        hide();
        active = mark;
        mark.classList.add("is-active");
        tip.textContent = mark.dataset.tip;
        tip.hidden = false;
      }
      const { width, height } = tip.getBoundingClientRect();
      const left = Math.min(Math.max(x - width / 2, 8), root.clientWidth - width - 8);
      const top = y - height - 14 < 8 ? y + 18 : y - height - 14;
      tip.style.left = `${left}px`;
      tip.style.top = `${top}px`;
    };
    const showAt = (mark) => {
      const place = mark.getBoundingClientRect();
      show(mark, place.left + place.width / 2, place.top);
    };
    const step = (marks, event) => {
      const ways = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
      if (event.key === "Escape") return hide();
      if (!(event.key in ways)) return undefined;
      event.preventDefault();
      const next = marks.indexOf(active) + ways[event.key];
      return showAt(marks[(next + marks.length) % marks.length]);
    };
    all(".plot").forEach((plot) => {
      const marks = all(".mark", plot);
      if (!marks.length) return;
      marks.forEach((mark) => {
        const title = one("title", mark);
        mark.dataset.tip = title.textContent;
        title.remove();
      });
      plot.tabIndex = 0;
      plot.setAttribute("role", "group");
      plot.setAttribute("aria-label", `${plot.dataset.name}; arrow keys show the values`);
      plot.addEventListener("keydown", (event) => step(marks, event));
      plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) showAt(marks[0]); });
      plot.addEventListener("blur", hide);
      plot.addEventListener("pointermove", (event) => {
        const mark = event.target.closest(".mark");
        if (mark) show(mark, event.clientX, event.clientY);
        else hide();
      });
      plot.addEventListener("pointerleave", hide);
    });
    addEventListener("scroll", hide, { passive: true });
  }

  function classes() {
    const picked = one(".picked");
    if (!picked) return;
    const select = one("#gallery-class");
    const buttons = all(".class-button");
    const shots = all(".shot");
    let chosen = null;

    const light = (index) => {
      const key = index === null ? null : String(index);
      all("tr[data-class], th[data-class]").forEach((part) => part.classList.toggle("is-lit", part.dataset.class === key));
      all(".matrix td.lit-cell").forEach((cell) => cell.classList.remove("lit-cell", "is-lit"));
      if (key !== null) {
        all(`.matrix tbody td:nth-child(${Number(key) + 2})`).forEach((cell) => cell.classList.add("lit-cell", "is-lit"));
      }
      all(".lit").forEach((part) => {
        part.classList.toggle("is-lit", key !== null);
        part.setAttribute(part.classList.contains("lit-row") ? "y" : "x", key ?? "0");
      });
      root.classList.toggle("has-choice", key !== null);
      shots.forEach((shot) => shot.classList.toggle("is-lit", concerns(shot, key)));
    };
    const concerns = (shot, key) => shot.dataset.true === key || shot.dataset.predicted.split(" ").includes(key);
    const choose = (index) => {
      chosen = index;
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.class === index)));
      picked.hidden = index === null;
      if (index !== null) {
        one(".picked-name").textContent = buttons.find((button) => button.dataset.class === index).textContent;
      }
      light(index);
    };
    buttons.forEach((button) => {
      const index = button.dataset.class;
      button.addEventListener("click", () => choose(chosen === index ? null : index));
      const row = button.closest("tr");
      row.addEventListener("pointerenter", () => light(index));
      row.addEventListener("pointerleave", () => light(chosen));
      button.addEventListener("focus", () => { if (button.matches(":focus-visible")) light(index); });
      button.addEventListener("blur", () => light(chosen));
    });
    one(".picked-clear").addEventListener("click", () => {
      const button = buttons.find((item) => item.dataset.class === chosen);
      button?.focus({ preventScroll: true });
      choose(null);
    });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen !== null) choose(null); });
    if (!select) return;
    one(".filter").hidden = false;
    select.addEventListener("change", () => {
      const key = select.value;
      shots.forEach((shot) => { shot.hidden = key !== "" && !concerns(shot, key); });
      if (key !== "") all(".more-shots").forEach((part) => { part.open = true; });
      const left = shots.filter((shot) => !shot.hidden).length;
      one(".filter-count").textContent = key === "" ? "" : `${left} of ${shots.length} images`;
    });
  }

  function printing() {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = all("details:not([open])");
      opened.forEach((part) => { part.open = true; });
    });
    addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
  }

  [themes, contents, boxes, copying, tips, classes, printing].forEach((part) => part());
})();
