"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");

  /** An element of HTML with properties, or one of SVG with attributes. */
  const make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    Object.assign(element, properties);
    element.append(...children);
    return element;
  };
  const draw = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const select = (values, changed) => {
    const options = values.map((value, i) => make("option", { value: i, textContent: value }));
    return make("select", { onchange: (event) => changed(Number(event.target.value)) }, ...options);
  };

  // -- light and dark

  const scheme = one("#scheme");
  scheme.hidden = false;
  scheme.onclick = () => {
    const root = document.documentElement.style;
    const dark = (root.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    root.colorScheme = dark ? "light" : "dark";
  };

  // -- tables: a click on a heading sorts; the address remembers filters and order of the main one

  const value = (row, column) => {
    const text = row.cells[column]?.textContent.trim().replaceAll("−", "-") ?? "";
    const number = text.match(/^[[<>\s]*(-?[\d,]*\.?\d+(?:e[-+]?\d+)?)/i);
    return number ? Number(number[1].replaceAll(",", "")) : text === "–" ? "" : text;
  };
  const sort = (table, column, ascending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return ascending ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
    all("th", table.tHead).forEach((head, i) => {
      if (i === column) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  };
  for (const table of all("table.sortable")) {
    all("thead th:not([data-unsorted])", table).forEach((head) => {
      const click = () => {
        const rising = head.getAttribute("aria-sort");
        const ascending = rising ? rising === "descending" : head.classList.contains("text");
        sort(table, head.cellIndex, ascending);
        if (table.id === "main") remember({ sort: `${head.cellIndex}${ascending ? "a" : "d"}` });
      };
      head.classList.add("sorts");
      head.tabIndex = 0;
      head.onclick = click;
      head.onkeydown = (event) => { if (event.key === "Enter") click(); };
    });
  }

  const form = one("#filters");
  const remembered = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const remember = (words) => {
    for (const [name, text] of Object.entries(words)) remembered.set(name, text);
    history.replaceState(null, "", `#${remembered}`);
  };
  const filter = () => {
    const wanted = new FormData(form);
    const text = (wanted.get("text") ?? "").toLowerCase();
    let shown = 0;
    for (const row of one("#main").tBodies[0].rows) {
      const fits = [...wanted].every(([name, word]) => name === "text" || !word || !row.dataset[name] || row.dataset[name] === word);
      row.hidden = !fits || !row.textContent.toLowerCase().includes(text);
      shown += !row.hidden;
    }
    // a column whose value is chosen says nothing
    for (const [name, word] of wanted) all(`#main .of-${name}`).forEach((cell) => { cell.hidden = Boolean(word); });
    one("output", form).value = `${shown} rows`;
  };
  if (form) {
    for (const [name, text] of remembered) if (form.elements[name]) form.elements[name].value = text;
    form.oninput = (event) => { filter(); remember({ [event.target.name]: event.target.value }); };
    form.onsubmit = (event) => event.preventDefault();
    filter();
    const order = remembered.get("sort")?.match(/^(\d+)([ad])$/);
    if (order) sort(one("#main"), Number(order[1]), order[2] === "a");
  }

  // -- episodes, a picture after every block

  const films = data("films");
  if (films) {
    const sources = films.images.map((image) => `data:image/png;base64,${image}`);
    const grid = make("div", { className: "strips" });
    const slider = make("input", { type: "range", min: 0, value: 0 });
    slider.setAttribute("aria-label", "step of the episode");
    const button = make("button", { type: "button", textContent: "▶ Play" });
    const words = make("span");
    const title = make("span");
    let scene, tiles, timer = 0;
    const show = () => {
      const at = Number(slider.value);
      for (const { strip, image, state, tile } of tiles) {
        const [number, step, solved] = strip.frames[Math.min(at, strip.frames.length - 1)];
        const over = at >= strip.frames.length - 1;
        image.src = sources[number];
        tile.className = solved ? "solved" : "";
        state.textContent = solved ? `solved at step ${step}` : over ? `not solved in ${step} steps` : `step ${step}`;
      }
      words.textContent = `${at} / ${slider.max} blocks`;
    };
    const pause = () => { clearInterval(timer); timer = 0; button.textContent = "▶ Play"; };
    const play = () => {
      if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
      button.textContent = "❚❚ Pause";
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        show();
        if (Number(slider.value) >= Number(slider.max)) pause();
      }, 450);
      show();
    };
    const choose = (index) => {
      pause();
      scene = films.scenes[index];
      title.textContent = scene.title;
      tiles = scene.strips.map((strip) => {
        const image = make("img", { alt: `${strip.label}: picture of the episode` });
        const state = make("small");
        return { strip, image, state, tile: make("figure", {}, image, make("div", { textContent: strip.label }), state) };
      });
      const goal = make("figure", { className: "goal" }, make("img", { alt: "goal", src: sources[scene.goal] }), make("div", { textContent: "Goal" }));
      grid.replaceChildren(goal, ...tiles.map(({ tile }) => tile));
      slider.max = Math.max(...scene.strips.map((strip) => strip.frames.length)) - 1;
      slider.value = slider.max;
      show();
    };
    slider.oninput = () => { pause(); show(); };
    button.onclick = () => (timer ? pause() : play());
    const tasks = select(films.scenes.map(({ task }) => task), choose);
    one("#player").append(make("div", { className: "controls" }, make("label", {}, "Task ", tasks), button, slider, words), make("p", { className: "caption" }, title), grid);
    choose(0);
  }

  // -- training curves: the values of all of them where the pointer is

  const curves = data("curves");
  if (curves) {
    const [width, height, left, bottom, top] = [innerWidth < 640 ? 380 : 760, innerWidth < 640 ? 280 : 380, 62, 30, 12];
    const short = (number) => (number === 0 ? "0" : Math.abs(number) >= 1e5 || Math.abs(number) < 1e-3 ? number.toExponential(1) : String(Number(number.toPrecision(3))));
    const nice = (low, high, count) => {
      const rough = (high - low) / count || 1;
      const power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
      const ticks = [];
      for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) ticks.push(tick);
      return ticks;
    };
    const plot = make("div", { className: "plot" });
    const terms = make("select");
    let task = curves[0];
    const render = (name) => {
      const shown = task.terms[name];
      const known = shown.flatMap(({ points }) => points.filter(([, y]) => y !== null));
      const xs = known.map(([x]) => x), ys = known.map(([, y]) => y);
      const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
      let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
      const log = y0 > 0 && y1 / y0 > 20;
      if (y0 === y1) [y0, y1] = [y0 - 0.5, y1 + 0.5];
      const scale = log ? Math.log10 : (y) => y;
      const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - 10);
      const py = (y) => top + (1 - (scale(y) - scale(y0)) / (scale(y1) - scale(y0))) * (height - top - bottom);
      const decades = nice(Math.floor(scale(y0)), Math.ceil(scale(y1)), 6).filter(Number.isInteger);
      const marks = log ? decades.flatMap((d) => (decades.length < 4 ? [1, 2, 5] : [1]).map((f) => f * 10 ** d)) : nice(y0, y1, 6);
      const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} during training on ${task.task}` });
      for (const y of marks.filter((mark) => mark >= y0 && mark <= y1)) {
        svg.append(draw("line", { class: "grid", x1: left, x2: width - 10, y1: py(y), y2: py(y) }), draw("text", { x: left - 6, y: py(y) + 4, "text-anchor": "end" }, short(y)));
      }
      for (const x of nice(x0, x1, 6)) svg.append(draw("text", { x: px(x), y: height - 10, "text-anchor": "middle" }, short(x)));
      svg.append(draw("text", { x: width - 10, y: height - 24, "text-anchor": "end" }, `training step${log ? "; log axis" : ""}`));
      const line = draw("line", { class: "hover", y1: top, y2: height - bottom, visibility: "hidden" });
      const head = make("li");
      const entries = shown.map((curve) => {
        const known = curve.points.filter(([, y]) => y !== null && (!log || y > 0));
        const path = draw("path", { d: known.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join(""), "stroke-dasharray": curve.dash });
        path.style.stroke = curve.colour;
        const sample = draw("path", { d: "M0 4H26", "stroke-dasharray": curve.dash });
        sample.style.stroke = curve.colour;
        const text = make("b");
        const item = make("li", {}, draw("svg", { viewBox: "0 0 26 8" }, sample), make("span", { textContent: curve.label }), text);
        item.onpointerenter = () => paths.forEach((other) => other.classList.toggle("faded", other !== path));
        item.onpointerleave = () => paths.forEach((other) => other.classList.remove("faded"));
        return { curve, path, item, text };
      });
      const paths = entries.map(({ path }) => path);
      const at = (x) => {
        for (const { curve, text } of entries) {
          const [last] = curve.points.at(-1);
          const [, y] = curve.points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
          text.textContent = x > last + (x1 - x0) / 50 && x < Infinity ? "ended" : y === null ? "not finite" : short(y);
        }
        head.textContent = x < Infinity ? `${name} at step ${Math.round(x)}` : `${name}, last values`;
        line.setAttribute("visibility", x < Infinity ? "visible" : "hidden");
        for (const end of ["x1", "x2"]) line.setAttribute(end, px(Math.min(x, x1)));
      };
      svg.append(...paths, line);
      svg.onpointermove = (event) => {
        const box = svg.getBoundingClientRect();
        const x = x0 + (((event.clientX - box.left) / box.width) * width - left) / (width - left - 10) * (x1 - x0);
        at(Math.max(x0, Math.min(x1, x)));
      };
      svg.onpointerleave = () => at(Infinity);
      at(Infinity);
      plot.replaceChildren(svg, make("ul", {}, head, ...entries.map(({ item }) => item)));
    };
    const choose = (index) => {
      const before = terms.value;
      task = curves[index];
      const names = Object.keys(task.terms);
      terms.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
      if (names.includes(before)) terms.value = before;
      render(terms.value);
    };
    terms.onchange = () => render(terms.value);
    const tasks = select(curves.map(({ task }) => task), choose);
    one("#chart").append(make("div", { className: "controls" }, make("label", {}, "Task ", tasks), make("label", {}, "Logged ", terms)), plot);
    choose(0);
  }
})();
