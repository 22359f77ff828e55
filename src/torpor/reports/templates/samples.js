(() => {
  "use strict";
  const STEP = 100;
  const by = (id) => document.getElementById(id);
  const page = JSON.parse(by("samples-contents").textContent);
  const [form, table, status, more] = ["samples-form", "samples-all", "samples-status", "samples-more"].map(by);
  const counts = Object.keys(page.counts);
  const files = new Map(), state = { sort: "slowdown", down: true, shown: STEP };
  const arrived = new Map();

  window.torporSamples = (name, stamp, content) => arrived.set(name, stamp === page.stamp ? content : null);

  function load(name) {
    if (!files.has(name)) {
      files.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `${encodeURIComponent(page.folder)}/${name}.js`;
        script.onload = () => arrived.get(name) ? resolve(arrived.get(name))
          : reject(new Error(`${page.folder} is of another report; run torpor report again`));
        script.onerror = () => reject(new Error(`${page.folder}/${name}.js cannot be read; keep the folder beside the page`));
        document.head.append(script);
      }));
    }
    return files.get(name);
  }

  const text = (value) => value === null || value === undefined ? "-" : typeof value === "number" && !Number.isInteger(value)
    ? String(Number(value.toPrecision(4))) : typeof value === "number" ? value.toLocaleString("en-US") : String(value);

  function element(tag, content, attributes = {}) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...[content].flat());
    return made;
  }

  /* one object per sample of a row, with what can be searched */
  async function entries(place) {
    const row = page.rows[place], found = await load(String(place)), clean = await load(String(page.clean));
    const bare = new Map(clean.sample.map((sample, at) => [sample, at])), units = page.rows[page.clean].units;
    return found.entries ??= found.sample.map((sample, at) => {
      const before = bare.get(sample), work = {};
      row.units.forEach((unit, number) => {
        const old = units.indexOf(unit);
        work[unit] = [before === undefined || old < 0 ? null : clean.work?.[before][old], found.work?.[at][number]];
      });
      const grown = row.units.filter((unit) => work[unit][1] > (work[unit][0] ?? 0));
      const flags = [...found.marks[at], ...row.flags];
      const entry = { place, at, sample, row: row.label, slowdown: found.slowdown[at], cost: found.cost[at], work, grown, flags };
      entry.own = { cost: [found.cost_clean[at], found.cost[at]], "static bound": [clean.cost_static[before], found.cost_static[at]] };
      entry.own.utility = [clean.utility?.[before], found.utility?.[at]];
      for (const name of counts) {
        entry[name] = found[name][at];
        entry.own[page.counts[name]] = [clean[name][before], found[name][at]];
      }
      entry.saved = found.saved.includes(sample);
      entry.words = [`sample ${sample}`, row.label, ...flags, ...grown, ...counts.map((name) => `${name} ${entry[name]}`)].join(" ").toLowerCase();
      return entry;
    });
  }

  const chosen = (id) => by(`samples-${id}`).value;
  const value = (entry) => state.sort === "unit" ? entry.work[chosen("unit")]?.[1] : state.sort === "flags" ? entry.flags.join() : entry[state.sort];

  function fits(entry) {
    const unit = chosen("unit"), mark = chosen("mark"), least = chosen("least");
    return chosen("text").toLowerCase().split(/\s+/).every((word) => entry.words.includes(word))
      && (!unit || entry.grown.includes(unit)) && (!mark || entry.flags.includes(mark))
      && (least === "" || entry.slowdown >= Number(least))
      && counts.every((name) => chosen(name) === "" || String(entry[name]) === chosen(name));
  }

  function compare(one, other) {
    const [a, b] = [value(one) ?? -Infinity, value(other) ?? -Infinity];
    const order = a < b ? -1 : a > b ? 1 : 0;
    return (state.down ? -order : order) || one.place - other.place || one.sample - other.sample;
  }

  async function rows() {
    const places = chosen("row") === "all" ? page.rows.map((_, place) => place) : [Number(chosen("row"))];
    return (await Promise.all(places.map(entries))).flat();
  }

  async function show() {
    try {
      const all = await rows(), unit = chosen("unit"), found = all.filter(fits).sort(compare);
      const several = chosen("row") === "all";
      const heads = [["sample", "sample"], ...(several ? [["row", "attack"]] : []), ["slowdown", "slowdown"], ["flags", "flags"],
        ...counts.map((name) => [name, page.counts[name]]), ...(unit ? [["unit", unit]] : []), ["cost", `cost (${page.unit})`]];
      table.querySelector("thead tr").replaceChildren(...heads.map(([name, title]) => {
        const button = element("button", title + (state.sort === name ? state.down ? " ▼" : " ▲" : ""), { type: "button" });
        button.addEventListener("click", () => {
          state.down = state.sort === name ? !state.down : !["sample", "row", "flags"].includes(name);
          state.sort = name;
          show().then(() => table.querySelectorAll("thead button")[heads.findIndex(([own]) => own === name)].focus());
        });
        const sorted = state.sort === name ? { "aria-sort": state.down ? "descending" : "ascending" } : {};
        return element("th", button, { scope: "col", ...sorted });
      }));
      table.querySelector("tbody").replaceChildren(...found.slice(0, state.shown).map((entry) => element("tr", [
        element("th", element("a", text(entry.sample), { href: `#sample/${encodeURIComponent(page.rows[entry.place].slug)}/${entry.sample}` }), { scope: "row" }),
        ...(several ? [element("td", entry.row)] : []), element("td", `${text(entry.slowdown)}x`), element("td", entry.flags.join(", ") || "none"),
        ...counts.map((name) => element("td", `${text(entry.own[page.counts[name]][0])} → ${text(entry[name])}`)),
        ...(unit ? [element("td", (entry.work[unit] ?? [null, null]).map(text).join(" → "))] : []),
        element("td", text(entry.cost / page.scale)),
      ])));
      [form, table].forEach((each) => { each.hidden = false; });
      more.hidden = found.length <= state.shown;
      status.textContent = `${found.length.toLocaleString("en-US")} of ${all.length.toLocaleString("en-US")} samples`
        + (more.hidden ? "" : `, the first ${state.shown} shown`);
    } catch (error) {
      status.textContent = `Samples: ${error.message}.`;
    }
  }

  async function open() {
    const [kind, slug, number] = location.hash.slice(1).split("/").map(decodeURIComponent);
    const dialog = by("sample-open");
    if (kind !== "sample") return dialog.open && dialog.close();
    try {
      const place = page.rows.findIndex((row) => row.slug === slug);
      const entry = place < 0 ? undefined : (await entries(place)).find((each) => each.sample === Number(number));
      if (!entry) throw new Error(`the report has no sample ${number} of ${slug}`);
      by("sample-title").textContent = `sample ${entry.sample}: ${entry.row}, ${text(entry.slowdown)}x`;
      by("sample-says").textContent = entry.flags.length ? `Flags: ${entry.flags.join(", ")}.` : "No flags.";
      const pairs = { ...entry.own, ...entry.work };
      by("sample-table").replaceChildren(...Object.entries(pairs).map(([name, pair]) => {
        const cost = name === "cost" || name === "static bound";
        const cells = pair.map((each) => element("td", text(cost && each != null ? each / page.scale : each)));
        return element("tr", [element("th", cost ? `${name} (${page.unit})` : name, { scope: "row" }), ...cells]);
      }));
      /* the file holds HTML that torpor escaped; the page's policy lets nothing in it run */
      by("sample-inputs").innerHTML = entry.saved ? (await load(`${place}.inputs`))[entry.sample] : "";
      if (!entry.saved) by("sample-inputs").append(element("p", "The audit saved no input of this sample: it keeps those of the first 16 and of the 8 costliest.", { class: "quiet" }));
      if (!dialog.open) dialog.showModal();
    } catch (error) {
      status.textContent = `Samples: ${error.message}.`;
      by("samples").scrollIntoView();
    }
  }

  function fill(id, options, none) {
    by(`samples-${id}`).replaceChildren(...(none ? [element("option", none, { value: "" })] : []), ...options.map(([value, title]) => element("option", title, { value })));
  }

  async function begin() {
    if (!form.hidden || begin.done) return;
    begin.done = true;
    fill("row", [...page.rows.map((row, place) => [String(place), row.label]), ["all", "all rows"]]);
    by("samples-row").value = String(page.first);
    fill("unit", [...new Set(page.rows.flatMap((row) => row.units))].map((unit) => [unit, unit]), "any");
    await choices();
    await show();
  }

  /* what the chosen rows can be filtered by */
  async function choices() {
    const before = Object.fromEntries(["mark", ...counts].map((id) => [id, chosen(id)]));
    const all = await rows().catch(() => []);
    fill("mark", [...new Set(all.flatMap((entry) => entry.flags))].map((flag) => [flag, flag]), "any");
    for (const name of counts) {
      const values = [...new Set(all.map((entry) => entry[name]))].sort((a, b) => a - b);
      fill(name, values.map((each) => [String(each), text(each)]), "any");
    }
    for (const [id, old] of Object.entries(before)) {
      if ([...by(`samples-${id}`).options].some((option) => option.value === old)) by(`samples-${id}`).value = old;
    }
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", async (event) => {
    state.shown = STEP;
    if (event.target.id === "samples-row") await choices();
    show();
  });
  more.addEventListener("click", () => { state.shown += STEP; show(); });
  by("sample-close").addEventListener("click", () => by("sample-open").close());
  by("sample-open").addEventListener("close", () => {
    if (location.hash.startsWith("#sample/")) history.replaceState(null, "", location.pathname + location.search + "#samples");
  });
  window.addEventListener("hashchange", open);
  new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && begin()).observe(by("samples"));
  if (location.hash.startsWith("#sample/")) begin().then(open);
})();
