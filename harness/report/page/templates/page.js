"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const draw = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, text] of Object.entries(attributes)) element.setAttribute(name, text);
    element.append(...children);
    return element;
  };
  const select = (texts, onchange) =>
    make("select", { onchange }, ...texts.map((text, value) => make("option", { value, textContent: text })));
  const labelled = (text, control) => make("label", {}, `${text} `, control);

  // -- light and dark

  Object.assign(one("#scheme"), { hidden: false, onclick: () => {
    const root = document.documentElement.style;
    const now = root.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.colorScheme = now === "dark" ? "light" : "dark";
  } });

  // -- figures: a narrow screen shows them whole and small, a button as large as they can be read

  for (const drawn of all(".drawn")) {
    const button = make("button", { type: "button", className: "enlarge" });
    const show = (large) => {
      drawn.classList.toggle("large", large);
      button.textContent = large ? "Show it whole" : "Enlarge, and swipe sideways";
    };
    button.onclick = () => show(!drawn.classList.contains("large"));
    show(false);
    drawn.after(button);
  }

  // -- tables: a click on a heading sorts; the address remembers the main table's filters and order

  const value = (row, column) => {
    const text = row.cells[column]?.textContent.trim().replaceAll("−", "-") ?? "";
    const number = text.match(/^[[<\s]*(-?[\d,]*\.?\d+(?:e[-+]?\d+)?)/i);
    return number ? Number(number[1].replaceAll(",", "")) : text === "–" ? "" : text;
  };
  const sort = (table, column, ascending) => {
    const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // blanks stand at the end
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return ascending ? order : -order;
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
    all("th", table.tHead).forEach((head) => head.removeAttribute("aria-sort"));
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
  };
  const remembered = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const remember = (name, text) => {
    remembered.set(name, text);
    history.replaceState(null, "", `#${remembered}`);
  };
  for (const table of all("table.sortable")) {
    for (const head of all("thead th:not([data-unsorted])", table)) {
      head.classList.add("sorts");
      head.tabIndex = 0;
      head.onclick = () => {
        const before = head.getAttribute("aria-sort");
        const ascending = before ? before === "descending" : head.classList.contains("text");
        sort(table, head.cellIndex, ascending);
        if (table.id === "main") remember("sort", `${head.cellIndex}${ascending ? "a" : "d"}`);
      };
      head.onkeydown = (event) => { if (event.key === "Enter") head.click(); };
    }
  }
  const form = one("#filters");
  const filter = () => {
    const [wanted, rows] = [[...new FormData(form)], all("#main tbody tr")];
    const text = form.elements.text.value.toLowerCase();
    const fits = (row) => wanted.every(([name, word]) => !word || !row.dataset[name] || row.dataset[name] === word);
    for (const row of rows) row.hidden = !fits(row) || !row.textContent.toLowerCase().includes(text);
    // a column whose value is chosen says nothing
    for (const [name, word] of wanted) for (const cell of all(`#main .of-${name}`)) cell.hidden = Boolean(word);
    const shown = rows.filter((row) => !row.hidden).length;
    one("output", form).value = `${shown} row${shown === 1 ? "" : "s"}`;
  };
  if (form) {
    for (const [name, text] of remembered) if (form.elements[name]) form.elements[name].value = text;
    form.oninput = (event) => { filter(); remember(event.target.name, event.target.value); };
    form.onsubmit = (event) => event.preventDefault();
    filter();
    const order = remembered.get("sort")?.match(/^([0-9]+)([ad])$/);
    if (order) sort(one("#main"), Number(order[1]), order[2] === "a");
  }

  // -- episodes, a picture after every block

  const films = data("films");
  if (films) {
    const source = (number) => `data:image/png;base64,${films.images[number]}`;
    const [grid, words, title] = [make("div", { className: "strips" }), make("span"), make("p", { className: "caption" })];
    const slider = make("input", { type: "range", min: 0, ariaLabel: "blocks since the start" });
    const button = make("button", { type: "button" });
    let tiles, timer;
    const show = (at) => {
      slider.value = at;
      for (const { strip, image, state, tile } of tiles) {
        const [number, step, solved] = strip.frames[Math.min(at, strip.frames.length - 1)];
        image.src = source(number);
        tile.className = solved ? "solved" : "";
        const ended = at >= strip.frames.length - 1 ? `not solved in ${step} steps` : `step ${step}`;
        state.textContent = solved ? `solved at step ${step}` : ended;
      }
      words.textContent = `${at} / ${slider.max} blocks`;
    };
    const pause = () => {
      timer = clearInterval(timer);
      button.textContent = "▶ Play";
    };
    const play = () => {
      show(slider.value === slider.max ? 0 : Number(slider.value));
      button.textContent = "❚❚ Pause";
      timer = setInterval(() => {
        show(Number(slider.value) + 1);
        if (slider.value === slider.max) pause();
      }, 450);
    };
    const choose = (scene) => {
      pause();
      title.textContent = scene.title;
      tiles = scene.strips.map((strip) => {
        const [image, state] = [make("img", { alt: `episode of ${strip.label}` }), make("small")];
        return { strip, image, state, tile: make("figure", {}, image, make("div", { textContent: strip.label }), state) };
      });
      const goal = make("img", { alt: "goal", src: source(scene.goal) });
      grid.replaceChildren(make("figure", { className: "goal" }, goal, "Goal"), ...tiles.map(({ tile }) => tile));
      slider.max = Math.max(...scene.strips.map((strip) => strip.frames.length)) - 1;
      show(Number(slider.max));
    };
    slider.oninput = () => { pause(); show(Number(slider.value)); };
    button.onclick = () => (timer ? pause() : play());
    const tasks = select(films.scenes.map(({ task }) => task), () => choose(films.scenes[tasks.value]));
    one("#player").append(make("div", { className: "controls" }, labelled("Task", tasks), button, slider, words), title, grid);
    choose(films.scenes[0]);
  }

  // -- training curves: the values of all of them at the step below the pointer

  const short = (y) => (y !== 0 && (Math.abs(y) >= 1e5 || Math.abs(y) < 1e-3) ? y.toExponential(1) : String(Number(y.toPrecision(3))));
  const ticks = (low, high) => {
    const power = 10 ** Math.floor(Math.log10((high - low) / 6 || 1));
    const step = [1, 2, 5, 10].find((factor) => factor * power * 6 >= high - low) * power;
    return Array.from({ length: 12 }, (_, i) => (Math.ceil(low / step) + i) * step).filter((tick) => tick <= high);
  };
  const plot = (name, curves) => {
    const [width, height, left, right, bottom, top] = innerWidth < 640 ? [380, 280, 52, 10, 30, 12] : [760, 380, 62, 10, 30, 12];
    const known = curves.flatMap(({ points }) => points.filter(([, y]) => y !== null));
    const [xs, ys] = [0, 1].map((i) => known.map((point) => point[i]));
    const [x0, x1, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const log = low > 0 && high / low > 20;
    const scale = log ? Math.log10 : (y) => y;
    const pad = low === high ? 0.5 : 0;
    const [y0, y1] = [scale(low) - pad, scale(high) + pad];
    const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
    const py = (y) => top + ((y1 - scale(y)) / (y1 - y0)) * (height - top - bottom);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} over training steps` });
    const factors = y1 - y0 < 3 ? [1, 2, 5] : [1];
    const decades = Array.from({ length: log ? Math.ceil(y1 - y0) + 1 : 0 }, (_, i) => 10 ** (Math.floor(y0) + i));
    const marks = log ? decades.flatMap((decade) => factors.map((factor) => factor * decade)) : ticks(y0, y1);
    for (const y of marks.filter((mark) => scale(mark) >= y0 && scale(mark) <= y1)) {
      svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }));
      svg.append(draw("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, short(y)));
    }
    for (const x of ticks(x0, x1)) svg.append(draw("text", { x: px(x), y: height - 10, "text-anchor": "middle" }, short(x)));
    svg.append(draw("text", { x: width - right, y: top, "text-anchor": "end" }, `${log ? "log axis, " : ""}over training steps`));
    const line = draw("line", { class: "hover", y1: top, y2: height - bottom });
    const head = make("li");
    const entries = curves.map(({ label, colour, dash, points }) => {
      const seen = points.filter(([, y]) => y !== null);
      const [path, sample] = [seen.map(([x, y]) => `${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("L"), "0 4H26"].map((d) =>
        draw("path", { d: `M${d}`, "stroke-dasharray": dash, style: `stroke:${colour}` }));
      const text = make("strong");
      const item = make("li", {}, draw("svg", { viewBox: "0 0 26 8" }, sample), make("span", { textContent: label }), text);
      item.onpointerenter = () => entries.forEach((other) => other.path.classList.toggle("faded", other.path !== path));
      item.onpointerleave = () => entries.forEach((other) => other.path.classList.remove("faded"));
      return { points, path, item, text };
    });
    const show = (at) => { // Infinity: at the end of each curve
      const nearer = (one, other) => (Math.abs(other[0] - at) < Math.abs(one[0] - at) ? other : one);
      for (const { points, text } of entries) {
        const [, y] = points.reduce(nearer, points.at(-1));
        const ended = at < Infinity && at > points.at(-1)[0] + (x1 - x0) / 50;
        text.textContent = ended ? "ended" : y === null ? "not finite" : short(y);
      }
      head.textContent = at < Infinity ? `${name} at step ${Math.round(at)}` : `${name}, last values`;
      line.setAttribute("visibility", at < Infinity ? "visible" : "hidden");
      for (const end of ["x1", "x2"]) line.setAttribute(end, px(Math.min(at, x1)));
    };
    svg.append(...entries.map(({ path }) => path), line);
    svg.onpointermove = ({ clientX }) => {
      const box = svg.getBoundingClientRect();
      const share = (((clientX - box.left) / box.width) * width - left) / (width - left - right);
      show(x0 + Math.max(0, Math.min(1, share)) * (x1 - x0));
    };
    svg.onpointerleave = () => show(Infinity);
    show(Infinity);
    return [svg, make("ul", {}, head, ...entries.map(({ item }) => item))];
  };
  const curves = data("curves");
  if (curves) {
    const [terms, panel] = [make("select"), make("div", { className: "plot" })];
    const render = () => panel.replaceChildren(...plot(terms.value, curves[tasks.value].terms[terms.value]));
    const choose = () => {
      const [before, names] = [terms.value, Object.keys(curves[tasks.value].terms)];
      terms.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
      if (names.includes(before)) terms.value = before;
      render();
    };
    const tasks = select(curves.map(({ task }) => task), choose);
    terms.onchange = render;
    one("#chart").append(make("div", { className: "controls" }, labelled("Task", tasks), labelled("Logged", terms)), panel);
    choose();
  }
})();
