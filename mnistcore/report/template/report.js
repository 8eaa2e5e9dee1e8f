"use strict";
// The moving parts of the report but the pad, which is in pad.js. `frame` follows mnistcore/report/framing.py and the
// unpacking follows mnistcore/report/compression.py; a test holds each to its model.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [rows, columns] = data.shape;
  const byId = (id) => document.getElementById(id);

  // ---- Unpacking: pairs of printable characters carry 13 bits each.

  const digits = new Int16Array(128).fill(-1);
  for (let code = 33, next = 0; code < 127; code++) {
    if (!"<&\\".includes(String.fromCharCode(code))) digits[code] = next++;
  }

  class Bits {
    constructor(text) {
      this.text = text;
      this.at = 0;
      this.held = 0; // the bits not yet given out, the next one highest
      this.many = 0;
    }

    letter() {
      while (this.at < this.text.length) {
        const digit = digits[this.text.charCodeAt(this.at++)];
        if (digit >= 0) return digit;
      }
      return -1;
    }

    fill() {
      const high = this.letter();
      if (high < 0) throw new RangeError("out of bits");
      this.held = (this.held << 13) | (high * 91 + this.letter());
      this.many += 13;
    }

    // up to 16 bits as a number
    read(width) {
      while (this.many < width) this.fill();
      this.many -= width;
      const value = this.held >>> this.many;
      this.held &= (1 << this.many) - 1;
      return value;
    }

    ones() {
      let count = 0;
      while (this.read(1)) count++;
      return count;
    }
  }

  function unpackLayer(layer, text) {
    const bits = new Bits(text);
    const shifts = [], rices = [];
    for (let row = 0; row < layer.inputs; row++) {
      shifts.push(bits.read(4));
      rices.push(bits.read(5));
    }
    const weights = new Float32Array(layer.inputs * layer.units);
    for (let row = 0, at = 0; row < layer.inputs; row++) {
      const step = layer.step * 2 ** shifts[row], rice = rices[row];
      for (let unit = 0; unit < layer.units; unit++) {
        let folded = bits.ones();
        if (rice > 16) folded = (folded * 2 ** (rice - 16) + bits.read(rice - 16)) * 65536 + bits.read(16);
        else folded = folded * 2 ** rice + bits.read(rice);
        weights[at++] = step * (folded % 2 ? -(folded + 1) / 2 : folded / 2);
      }
    }
    const biases = new Float32Array(layer.units);
    if (layer.bias) {
      const words = new Uint32Array(biases.buffer);
      for (let unit = 0; unit < layer.units; unit++) words[unit] = bits.read(16) * 65536 + bits.read(16);
    }
    return { ...layer, weights, biases };
  }

  function unpackPictures(text, count) {
    const bits = new Bits(text), pixels = new Uint8Array(count * rows * columns);
    for (let at = 0; at < pixels.length; ) {
      const value = bits.read(8);
      if (value) pixels[at++] = value;
      else at += bits.read(8);
    }
    return pixels;
  }

  // ---- The network: pixel values in, a number for each class out.

  let network = null;

  function unpackNetwork() {
    network ??= data.layers.map((layer, place) => unpackLayer(layer, byId(`layer-${place}`).textContent));
    return network;
  }

  const activations = {
    relu: (values) => values.map((value) => Math.max(value, 0)),
    tanh: (values) => values.map(Math.tanh),
    sigmoid: (values) => values.map((value) => 1 / (1 + Math.exp(-value))),
    identity: (values) => values,
    softmax: (values) => {
      const most = Math.max(...values), powers = values.map((value) => Math.exp(value - most));
      const sum = powers.reduce((total, power) => total + power, 0);
      return powers.map((power) => power / sum);
    },
  };

  // The values of each layer in turn.
  function run(layers, values) {
    return layers.map(({ inputs, units, weights, biases, activation }) => {
      const sums = Float64Array.from(biases);
      for (let input = 0; input < inputs; input++) {
        const value = values[input];
        if (value === 0) continue;
        for (let unit = 0, at = input * units; unit < units; unit++, at++) sums[unit] += value * weights[at];
      }
      values = activations[activation.startsWith("relu") ? "relu" : activation](sums);
      return Array.from(values);
    });
  }

  // The normalised pixels and the values of each layer in turn, the last ones a number for each class.
  function forward(pixels) {
    const pick = (values, place) => values[values.length === 1 ? 0 : place];
    const values = Array.from(pixels, (pixel, place) =>
      Math.fround(Math.fround(pixel - pick(data.offset, place)) / pick(data.scale, place)));
    return [values, ...run(unpackNetwork(), values)];
  }

  const probabilities = (pixels) => forward(pixels).at(-1);

  // Above zero, a picture is unlike those the network was trained on, as mnistcore/report/familiarity.py has it.
  let classifier = null;

  function unfamiliarity([pixels, ...layers]) {
    classifier ??= data.classifier.map((layer) => unpackLayer(layer, layer.text));
    const hidden = layers.length > 1 ? layers.slice(0, -1).flat() : pixels;
    return run(classifier, hidden.slice(-classifier[0].inputs)).at(-1)[0];
  }

  // ---- Framing: ink from 0 to 1 becomes a picture as the data set has them; null when there is none.

  function coverage(fresh, old) {
    const shares = [];
    for (let i = 0; i < fresh; i++) {
      const start = i * (old / fresh), end = (i + 1) * (old / fresh), row = new Float64Array(old);
      for (let j = 0; j < old; j++) {
        row[j] = Math.max(Math.min(end, j + 1) - Math.max(start, j), 0) * (fresh / old);
      }
      shares.push(row);
    }
    return shares;
  }

  function frame(ink, height, width) {
    const { box, centre, brightest } = data.frame;
    let top = height, bottom = -1, left = width, right = -1;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (!ink[y * width + x]) continue;
        top = Math.min(top, y); bottom = Math.max(bottom, y);
        left = Math.min(left, x); right = Math.max(right, x);
      }
    }
    if (bottom < 0) return null;
    const tall = bottom - top + 1, wide = right - left + 1, scale = box / Math.max(tall, wide);
    const small = [Math.max(1, Math.floor(tall * scale + 0.5)), Math.max(1, Math.floor(wide * scale + 0.5))];
    const down = coverage(small[0], tall), across = coverage(small[1], wide);
    const glyph = new Float64Array(small[0] * small[1]);
    for (let i = 0; i < small[0]; i++) {
      const line = new Float64Array(wide);
      for (let y = 0; y < tall; y++) {
        if (down[i][y]) for (let x = 0; x < wide; x++) line[x] += down[i][y] * ink[(top + y) * width + left + x];
      }
      for (let j = 0; j < small[1]; j++) {
        let sum = 0;
        for (let x = 0; x < wide; x++) sum += line[x] * across[j][x];
        glyph[i * small[1] + j] = sum;
      }
    }
    const strongest = glyph.reduce((most, value) => Math.max(most, value), 0);
    if (strongest < 0.9) glyph.forEach((value, place) => { glyph[place] = value / strongest; });
    let mass = 0, massDown = 0, massAcross = 0;
    for (let i = 0, at = 0; i < small[0]; i++) {
      for (let j = 0; j < small[1]; j++, at++) {
        mass += glyph[at]; massDown += i * glyph[at]; massAcross += j * glyph[at];
      }
    }
    const place = (centreOfMass, last) => Math.min(Math.max(Math.floor(centre - centreOfMass + 0.5), 0), last);
    const y0 = place(massDown / mass, rows - small[0]), x0 = place(massAcross / mass, columns - small[1]);
    const picture = new Uint8Array(rows * columns);
    for (let i = 0; i < small[0]; i++) {
      for (let j = 0; j < small[1]; j++) {
        picture[(y0 + i) * columns + x0 + j] = Math.floor(glyph[i * small[1] + j] * brightest + 0.5);
      }
    }
    return picture;
  }

  // ---- Pictures: pixels as black ink of that opacity; the style sheet turns it over in dark mode.

  const pictures = unpackPictures(byId("pictures").textContent, data.rows.length);
  const pixelsOf = (place) => pictures.subarray(place * rows * columns, (place + 1) * rows * columns);

  function paint(canvas, pixels, brightest) {
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
    for (let at = 0; at < rows * columns; at++) image.data[4 * at + 3] = (255 * pixels[at]) / brightest;
    context.putImageData(image, 0, 0);
  }

  function canvasOf(place) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: columns, height: rows, className: "ink" });
    canvas.setAttribute("aria-hidden", "true");
    paint(canvas, pixelsOf(place), data.brightest);
    return canvas;
  }

  for (const canvas of document.querySelectorAll("canvas[data-picture]")) {
    paint(canvas, pixelsOf(+canvas.dataset.picture), data.brightest);
  }

  const percent = (value) => value < 1 && value >= 0.9995 ? ">99.9\u202f%" : `${(100 * value).toFixed(1)}\u202f%`;

  // ---- The pad.

  const handle = data.layers ? startPad({ data, frame, forward, unfamiliarity, pixelsOf, canvasOf, paint, percent }) : null;
  const put = handle?.put; // puts a test image on the pad, where there is one
  if (handle) setTimeout(() => { unpackNetwork(); drawUnits(); }, 0);

  // ---- A picture that is chosen goes on the pad, wherever that is; a bar leads there, and back again.

  const placed = byId("placed");
  let from = null; // where the reader was: [how far down, on what]

  function choose(button, place) {
    put(place);
    const area = byId("pad").getBoundingClientRect();
    placed.hidden = area.top >= 0 && area.bottom <= window.innerHeight;
    byId("placed-said").textContent = byId("verdict").textContent;
    byId("to-pad").hidden = false;
    byId("back").hidden = true;
    from = [window.scrollY, button];
  }

  if (put) {
    byId("to-pad").addEventListener("click", () => {
      from[0] = window.scrollY;
      byId("draw-title").scrollIntoView();
      byId("to-pad").hidden = true;
      byId("back").hidden = false;
      byId("back").focus({ preventScroll: true });
    });
    byId("back").addEventListener("click", () => {
      window.scrollTo(0, from[0]);
      from[1].focus({ preventScroll: true });
      placed.hidden = true;
    });
    byId("pad").addEventListener("pointerdown", () => { placed.hidden = true; }); // something else will be on it
    byId("stay").addEventListener("click", () => {
      placed.hidden = true;
      from[1].focus({ preventScroll: true });
    });
  }
  for (const button of document.querySelectorAll("[data-put]")) {
    button.addEventListener("click", () => choose(button, +button.dataset.put));
  }

  // ---- All errors side by side: one stop of the tab key, the arrow keys go on.

  const wrong = [...document.querySelectorAll("#errors button")];
  const stopAt = (button) => wrong.forEach((other) => { other.tabIndex = other === button ? 0 : -1; });
  wrong.forEach((button, at) => {
    button.addEventListener("click", () => wrong.forEach((other) => other.setAttribute("aria-pressed", other === button)));
    button.addEventListener("focus", () => stopAt(button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!step || !wrong[at + step]) return;
      event.preventDefault();
      wrong[at + step].focus();
    });
  });
  if (wrong.length) stopAt(wrong[0]);

  // ---- Curves: the pointer picks an epoch out in all panels, for as long as it is there; the slider keeps one.

  const charts = [...document.querySelectorAll("[data-panel]")];
  const slider = byId("epoch"), latest = data.epochs.length - 1;
  let kept = latest;

  function showEpoch(index) {
    charts.forEach((chart, panel) => {
      const values = chart.parentElement.querySelectorAll(".readout b");
      const dots = chart.querySelectorAll(".dot"), cross = chart.querySelector(".cross");
      cross.toggleAttribute("hidden", index === latest);
      data.panels[panel].forEach((points, line) => {
        const point = points[Math.min(index, points.length - 1)];
        values[line].textContent = point[2];
        dots[line].toggleAttribute("hidden", index === latest || point[1] === null);
        dots[line].setAttribute("cx", point[0]);
        dots[line].setAttribute("cy", point[1] ?? 0);
        cross.setAttribute("x1", point[0]);
        cross.setAttribute("x2", point[0]);
      });
    });
    slider.value = index;
    slider.setAttribute("aria-valuetext", data.epochs[index]);
    byId("epoch-shown").textContent = data.epochs[index];
  }

  if (slider) {
    slider.addEventListener("input", () => {
      kept = +slider.value;
      showEpoch(kept);
    });
    charts.forEach((chart, panel) => {
      chart.addEventListener("pointermove", (event) => {
        const area = chart.getBoundingClientRect(), x = ((event.clientX - area.left) * 360) / area.width;
        const gaps = data.panels[panel][0].map((point) => Math.abs(point[0] - x));
        showEpoch(gaps.indexOf(Math.min(...gaps)));
      });
      chart.addEventListener("pointerleave", () => showEpoch(kept));
    });
  }

  // ---- The confusion matrix: one cell is chosen; arrow keys walk the filled cells.

  const buttons = [...document.querySelectorAll("[data-cell]")];
  const cellOf = (button) => button.dataset.cell.split(",").map(Number);

  function chooseCell(button) {
    const [is, guess] = cellOf(button), shown = data.cells[is][guess], count = data.counts[is][guess];
    for (const other of buttons) {
      other.setAttribute("aria-pressed", other === button);
      other.tabIndex = other === button ? 0 : -1;
    }
    const many = count === 1 ? "1 image" : `${count.toLocaleString("en")} images`;
    const part = shown.length < count ? `, the ${shown.length} ${is === guess ? "least sure" : "surest"} here` : "";
    byId("cell-title").textContent = is === guess
      ? `${data.classes[is]} read right: ${many}${part}`
      : `${data.classes[is]} taken for ${data.classes[guess]}: ${many}${part}`;
    byId("cell-pictures").replaceChildren(...shown.map((place) => {
      const item = document.createElement("li");
      const holder = document.createElement(put ? "button" : "span");
      const caption = document.createElement("span"), purpose = document.createElement("span");
      purpose.className = "unseen";
      purpose.textContent = put ? "Put on the pad: " : "";
      caption.textContent = `no. ${data.rows[place].toLocaleString("en")}, ${percent(data.confidence[place])}`;
      holder.append(canvasOf(place), purpose, caption);
      holder.className = put ? "" : "plain";
      if (put) {
        holder.type = "button";
        holder.addEventListener("click", () => choose(holder, place));
      }
      item.append(holder);
      item.dataset.row = data.rows[place];
      return item;
    }));
  }

  function walk(event) {
    const [down, across] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!down && !across) return;
    event.preventDefault();
    let [is, guess] = cellOf(event.currentTarget);
    for (;;) { // over empty cells to the next filled one
      is += down;
      guess += across;
      if (!data.counts[is]?.[guess]) {
        if (data.counts[is]?.[guess] === undefined) return;
        continue;
      }
      const next = buttons.find((button) => button.dataset.cell === `${is},${guess}`);
      next.focus();
      chooseCell(next);
      return;
    }
  }

  for (const button of buttons) {
    button.addEventListener("click", () => chooseCell(button));
    button.addEventListener("keydown", walk);
  }
  const errors = buttons.filter((button) => !button.classList.contains("right"));
  const countOf = (button) => data.counts[cellOf(button)[0]][cellOf(button)[1]];
  const start = (errors.length ? errors : buttons).reduce((most, button) => (countOf(button) > countOf(most) ? button : most));
  chooseCell(start);

  // ---- First-layer weights: blue raises a unit, orange lowers it.

  function drawUnits() {
    const colourOf = (name) => { // from the style sheet, as [red, green, blue]
      const pen = document.createElement("canvas").getContext("2d");
      pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
      return [1, 3, 5].map((at) => parseInt(pen.fillStyle.slice(at, at + 2), 16));
    };
    const raising = colourOf("--blue"), lowering = colourOf("--orange");
    const { units, weights } = network[0], canvas = byId("units"), gap = Math.max(1, Math.floor(columns / 14));
    const wide = window.innerWidth < 600 ? 8 : 16, many = Math.min(wide, data.units.length);
    canvas.width = many * (columns + gap) - gap;
    canvas.height = Math.ceil(data.units.length / many) * (rows + gap) - gap;
    const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
    const sizes = data.units.flatMap((unit) => Array.from({ length: rows * columns }, (_, at) => Math.abs(weights[at * units + unit])));
    const limit = Float64Array.from(sizes).sort()[Math.floor(0.999 * (sizes.length - 1))] || 1;
    data.units.forEach((unit, place) => {
      const top = Math.floor(place / many) * (rows + gap), left = (place % many) * (columns + gap);
      for (let at = 0; at < rows * columns; at++) {
        const value = weights[at * units + unit] / limit;
        const to = 4 * ((top + Math.floor(at / columns)) * canvas.width + left + (at % columns));
        image.data.set(value > 0 ? raising : lowering, to);
        image.data[to + 3] = 255 * Math.min(1, Math.abs(value));
      }
    });
    context.putImageData(image, 0, 0);
  }
  if (data.layers) {
    for (const media of ["(prefers-color-scheme: dark)", "print"]) {
      window.matchMedia(media).addEventListener("change", () => network && drawUnits());
    }
  }

  // For tests, and for those who like to look inside.
  window.report = { frame, forward, probabilities, unfamiliarity, pixelsOf, data, ...handle };
})();
