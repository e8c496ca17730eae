"use strict";
// Everything from the data goes into the page as text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tree = document.getElementById("tree");
  const detail = document.getElementById("detail");
  const view = document.getElementById("view");
  const search = document.getElementById("search");
  const only = document.getElementById("only");
  const found = document.getElementById("found");
  const items = [...tree.querySelectorAll("[role=treeitem]")];
  let chosen = null;

  function element(tag, options = {}, ...inside) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "class") made.className = value;
      else made.setAttribute(name, value);
    }
    made.append(...inside.filter((each) => each !== null));
    return made;
  }

  // ---- the tree: one item has the focus, the arrows move it

  const node = (item) => data.nodes[item.dataset.node];
  const above = (item) => item.parentElement.closest("[role=treeitem]");
  const inside = (item) => [...item.querySelectorAll(":scope > ul > [role=treeitem]")].filter((each) => !each.hidden);
  const isOpen = (item) => item.getAttribute("aria-expanded") === "true";

  function visible() {
    const walk = (list) => list.flatMap((each) => [each, ...(isOpen(each) ? walk(inside(each)) : [])]);
    return walk([...tree.children].filter((each) => !each.hidden));
  }

  function open(item, wanted) {
    if (item.hasAttribute("aria-expanded")) item.setAttribute("aria-expanded", String(wanted));
  }

  function choose(item, focus = true) {
    for (const each of items) {
      each.tabIndex = each === item ? 0 : -1;
      each.setAttribute("aria-selected", String(each === item));
    }
    chosen = item;
    for (let each = above(item); each; each = above(each)) open(each, true);
    if (focus) item.focus({ preventScroll: true });
    const row = item.querySelector(".row");
    if (focus) row.scrollIntoView({ block: "nearest" });
    show(node(item));
  }

  function toDetail() {
    detail.focus({ preventScroll: true });
    detail.scrollIntoView({ block: "start" });
  }

  function toTree() {
    if (chosen) choose(chosen);
    chosen.querySelector(".row").scrollIntoView({ block: "center" });
  }

  tree.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const list = visible();
    const at = list.indexOf(chosen);
    const moves = {
      ArrowDown: () => list[at + 1],
      ArrowUp: () => list[at - 1],
      Home: () => list[0],
      End: () => list[list.length - 1],
      ArrowRight: () => (chosen.hasAttribute("aria-expanded") && !isOpen(chosen) ? open(chosen, true) : inside(chosen)[0]),
      ArrowLeft: () => (isOpen(chosen) && inside(chosen).length ? open(chosen, false) : above(chosen)),
      Enter: toDetail,
      " ": toDetail,
      "*": () => items.forEach((each) => open(each, true)),
    };
    let next;
    if (Object.hasOwn(moves, event.key)) next = moves[event.key]();
    else if (event.key.length === 1 && event.key !== "/") {
      // A letter goes to the next item whose name begins with it.
      const turned = [...list.slice(at + 1), ...list.slice(0, at + 1)];
      next = turned.find((each) => node(each).name.toLowerCase().startsWith(event.key.toLowerCase()));
    } else return;
    event.preventDefault();
    if (next) choose(next);
  });

  tree.addEventListener("click", (event) => {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    if (event.target.classList.contains("twist")) open(item, !isOpen(item));
    choose(item);
    if (matchMedia("(max-width: 61.99rem)").matches && !event.target.classList.contains("twist")) toDetail();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && detail.contains(document.activeElement)) toTree();
    if (event.key === "Escape" && document.activeElement === search) { search.value = ""; filter(); }
    if (event.key === "/" && !/^(input|select|textarea)$/i.test(event.target.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });

  // ---- search and the view

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (item) =>
      words.every((word) => item.dataset.search.includes(word)) &&
      (!only.checked || (node(item).amounts[view.value] ?? []).some((amount) => amount && amount[2]));
    const wanted = words.length > 0 || only.checked;
    const hits = items.filter(fits);
    const kept = new Set(hits);
    for (const hit of hits) for (let each = above(hit); each; each = above(each)) kept.add(each);
    for (const item of items) {
      item.hidden = wanted && !kept.has(item);
      if (wanted && kept.has(item)) open(item, true);
    }
    found.textContent = wanted ? `${hits.length} of ${items.length}` : "";
    if (wanted && hits.length && !hits.includes(chosen)) choose(hits[0], false);
  }

  search.addEventListener("input", filter);
  search.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === "ArrowDown") && visible().length) {
      event.preventDefault();
      choose(visible().includes(chosen) ? chosen : visible()[0]);
    }
  });
  only.addEventListener("change", filter);

  function chip(amount, way) {
    if (!amount) return element("span", { class: "chip none", "data-way": way }, element("span", { class: "sr" }, `${way} `), "\u2013");
    const [text, level, differs] = amount;
    return element(
      "span", { class: `chip l${level}${differs ? " differs" : ""}`, "data-way": way },
      element("span", { class: "sr" }, `${way} `), text, differs ? element("span", { class: "sr" }, " differs") : null,
    );
  }

  view.addEventListener("change", () => {
    for (const item of items) {
      const amounts = node(item).amounts[view.value] ?? [];
      item.querySelector(".row > .chips").replaceChildren(...data.ways.map((way, i) => chip(amounts[i], way)));
    }
    document.getElementById("about").textContent = data.views[view.value].about;
    filter();
    if (chosen) show(node(chosen));
  });

  // ---- the details of a node

  function show(each) {
    const parts = [element("h2", { class: "path" }, each.path || each.name), element("p", { class: "about" }, each.about)];
    const back = element("button", { class: "back", type: "button" }, "Back to the tree");
    back.addEventListener("click", toTree);
    for (const way of data.ways) {
      const picture = each.pictures[`${data.views[view.value]?.pictures} ${way}`];
      if (picture) parts.push(...pictureOf(picture, way, data.views[view.value].pictures));
    }
    if (each.pairs.length) parts.push(element("h3", {}, "Configurations"), pairsOf(each.pairs));
    parts.push(element("h3", {}, "In every view"), ...amountsOf(each));
    for (const table of each.tables) {
      parts.push(element("h3", {}, table.title), tableOf(table.head, table.rows, table.title));
    }
    if (each.lines.length) {
      parts.push(element("dl", { class: "lines" }, ...each.lines.map(([term, text]) =>
        element("div", {}, element("dt", {}, term), element("dd", {}, text)))));
    }
    detail.replaceChildren(...parts, back);
    detail.scrollTop = 0;
  }

  function amountsOf(each) {
    const titles = [...view.options].map((option) => option.text);
    const rows = each.amounts.map((amounts, i) => [i, amounts]).filter(([, amounts]) => amounts.some(Boolean));
    if (!rows.length) return [element("p", {}, "Nothing of it was measured: it has no partner, or gives no numbers.")];
    const head = element("tr", {}, element("th", { scope: "col" }, "in units"), ...data.ways.map((way) => element("th", { scope: "col" }, way)));
    const body = rows.map(([i, amounts]) => element(
      "tr", {}, element("th", { scope: "row" }, titles[i]),
      ...data.ways.map((way, j) => {
        const amount = amounts[j];
        return element("td", {}, chip(amount, way), amount && amount[3] ? element("div", { class: "about" }, amount[3]) : null);
      }),
    ));
    return [element("table", {}, element("thead", {}, head), element("tbody", {}, ...body))];
  }

  function pairsOf(pairs) {
    const head = element("tr", {}, ...["", ...data.sides].map((text) => element(text ? "th" : "td", text ? { scope: "col" } : {}, text)));
    const rows = pairs.map(([name, left, right]) => element(
      "tr", left === right ? {} : { class: "unlike" },
      element("th", { scope: "row" }, name), element("td", {}, left), element("td", {}, right),
    ));
    return wide(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)), "Configurations");
  }

  function tableOf(head, rows, title) {
    const cell = (text) => element("td", text === "DIFFERS" ? { class: "verdict-differs" } : {}, text);
    return wide(element(
      "table", {},
      element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell)))),
    ), title);
  }

  const wide = (table, title) => element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title }, table);

  // Viridis and magma, at nine places.
  const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
  const MAGMA = ["000004", "1d1147", "51127c", "832681", "b73779", "e75263", "fc8961", "fec488", "fcfdbf"];

  function colour(map, value) {
    const at = ((value - 1) / 254) * (map.length - 1);
    const low = Math.min(Math.floor(at), map.length - 2);
    const part = (i, j) => parseInt(map[i].slice(2 * j, 2 * j + 2), 16);
    return [0, 1, 2].map((j) => part(low, j) + (at - low) * (part(low + 1, j) - part(low, j)));
  }

  function canvasOf(bytes, [rows, columns], map, label) {
    const canvas = element("canvas", { width: columns, height: rows, role: "img", "aria-label": label });
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    bytes.forEach((value, i) => image.data.set([...(value ? colour(map, value) : [255, 0, 255]), 255], 4 * i));
    context.putImageData(image, 0, 0);
    const scale = (matchMedia("(max-width: 40rem)").matches ? 100 : 176) / Math.max(columns, rows);
    canvas.style.width = `${Math.max(12, Math.round(columns * scale))}px`;
    canvas.style.height = `${Math.max(12, Math.round(rows * scale))}px`;
    return canvas;
  }

  function pictureOf(picture, way, title) {
    const bytes = Uint8Array.from(atob(picture.pixels), (c) => c.charCodeAt(0));
    const count = picture.size[0] * picture.size[1];
    const [low, high, most] = picture.range;
    const [left, right] = data.sides;
    const names = [`${left} ${low} to ${high}`, `${right} ${low} to ${high}`, `difference 0 to ${most}`];
    const maps = names.map((name, i) => element(
      "figure", {},
      canvasOf(bytes.subarray(i * count, (i + 1) * count), picture.size, i === 2 ? MAGMA : VIRIDIS, `${way}, ${name}`),
      element("figcaption", {}, name),
    ));
    const [down, across] = picture.step;
    const axes = picture.axes.length > 1 ? `axes ${picture.axes.join(" and ")}` : picture.axes.length ? "its one axis" : "one value";
    const every = down * across > 1 ? `; a pixel is the worst of ${down} by ${across} elements` : "";
    return [
      element("h3", {}, `${title} ${way}: ${picture.name}, shape (${picture.shape.join(", ")})`),
      element("div", { class: "maps" }, ...maps),
      element("p", { class: "about" }, `Along ${axes} through the worst element${every}.`),
      element("table", {}, element("tbody", {}, ...[
        ["worst element", `[${picture.index.join(", ")}]`], [left, picture.values[0]], [right, picture.values[1]],
        ["difference", `${picture.values[2]}, ${picture.units} ${picture.unit}`],
      ].map(([name, text]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text))))),
      ...histogramOf(picture),
    ];
  }

  const short = (value) => (value >= 1e4 || value < 1e-3 ? value.toExponential(0) : String(value));

  function histogramOf({ edges, counts, exact, unit }) {
    const equal = `${exact.toLocaleString("en")} ${exact === 1 ? "element is" : "elements are"} equal in every bit.`;
    if (!counts.length) return [element("p", {}, equal)];
    const most = Math.max(...counts);
    const bars = counts.map((count, i) => {
      const bar = element("i", { class: unit !== "of the largest value" && edges[i] >= 5 ? "over" : "" });
      bar.style.height = count ? `${Math.max(3, (100 * count) / most)}%` : "0";
      bar.title = `${short(edges[i])} to ${short(edges[i + 1])}: ${count}`;
      return bar;
    });
    const label = `How far elements are off, ${unit}: ${counts.map((count, i) => `${count} from ${short(edges[i])} to ${short(edges[i + 1])}`).join("; ")}`;
    return [
      element("p", { class: "about" }, `Elements by how far they are off, ${unit === "noise RMS" ? "over the root mean square of the noise" : "relative to the largest value"}, the worst in the last bar. ${equal}`),
      element("div", { class: "bars", role: "img", "aria-label": label }, ...bars),
      element("div", { class: "ends", "aria-hidden": "true" }, element("span", {}, short(edges[0])), element("span", {}, short(edges[edges.length - 1]))),
    ];
  }

  // ---- as the page opens: what is marked, or the first; a long tree is closed but for where its first view differs

  if (items.length) {
    const first = items.find((item) => item.classList.contains("marked")) ?? items[0];
    if (items.length > 80) {
      const differs = (item) => (node(item).amounts[0] ?? []).some((amount) => amount && amount[2]);
      for (const item of items) if (above(item) && !item.querySelector(".marked") && !differs(item)) open(item, false);
    }
    choose(first, false);
  }
})();
