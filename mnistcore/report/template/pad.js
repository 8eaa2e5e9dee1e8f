"use strict";
// The pad: strokes are kept as points, drawn on the screen with a pen of one width, and shown to the network
// with a pen in proportion to the drawing, however small it is. report.js starts it.
const startPad = ({ data, frame, forward, unfamiliarity, pixelsOf, canvasOf, paint, percent }) => {
  const PEN = 0.06; // of the pad's side: its width on the screen, and on a test image
  const NIB = 0.15; // of the drawing's larger side: its width for the network, about that of the data set's own pens
  const SURE = 0.6; // of probability, as in predict
  const STEP = 0.04, FINE_STEP = 0.01; // of the pad's side, by an arrow key, and with Shift
  const PALM = 500; // milliseconds after a pen was last seen in which a touch is the hand that holds it
  const RESOLUTION = 280; // pixels of a side, of what is framed for the network

  const byId = (id) => document.getElementById(id);
  const pad = byId("pad"), saw = byId("saw"), verdict = byId("verdict"), penState = byId("pad-pen"), hint = byId("pad-hint");
  const context = pad.getContext("2d");
  const bars = [...byId("bars").children];
  byId("bars").style.setProperty("--half", Math.ceil(bars.length / 2));
  const greeting = verdict.textContent;
  const [rows, columns] = data.shape;
  const [most, least] = [Math.max, Math.min].map((of) => (values) => of(...values));
  const within = (value) => Math.min(Math.max(value, 0), 1);

  // What is on the pad: the place of a test image or null, and strokes, lists of points [x, y] from 0 to 1. A state
  // never changes; undo and redo walk along them.
  const states = [{ place: null, strokes: [] }];
  let at = 0;
  let drawing = null; // the stroke being drawn: whose it is, a pointer's id or "keys", and its points
  let cursor = null; // where the keyboard's pen is, once it is used
  let penSeen = -Infinity, waiting = false;

  const shown = () => {
    const { place, strokes } = states[at];
    return { place, strokes: drawing ? [...strokes, drawing.points] : strokes };
  };

  // ---- Drawing

  function trace(target, strokes, pen) {
    Object.assign(target, { lineWidth: pen, lineCap: "round", lineJoin: "round" });
    for (const points of strokes) {
      target.beginPath(); // a dot of its own: a line of no length is nothing to some browsers
      target.arc(...points[0], pen / 2, 0, 2 * Math.PI);
      target.fill();
      target.beginPath();
      points.forEach((point) => target.lineTo(...point));
      target.stroke();
    }
  }

  function underlay(target, side, place) {
    const scale = side / Math.max(rows, columns);
    target.imageSmoothingEnabled = false;
    target.drawImage(canvasOf(place), (side - scale * columns) / 2, (side - scale * rows) / 2, scale * columns, scale * rows);
  }

  function draw() {
    const { place, strokes } = shown(), side = pad.width;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, side, side);
    if (place !== null) underlay(context, side, place);
    context.setTransform(side, 0, 0, side, 0, 0);
    trace(context, strokes, PEN);
    if (cursor && document.activeElement === pad) {
      context.beginPath();
      context.arc(...cursor, PEN, 0, 2 * Math.PI);
      Object.assign(context, { lineWidth: PEN / 6 });
      context.stroke();
    }
  }

  function fit() { // as many pixels as the screen has there
    const side = Math.max(1, Math.round(pad.clientWidth * (window.devicePixelRatio || 1)));
    if (pad.width !== side) pad.width = pad.height = side;
    draw();
  }

  // ---- Reading

  const sheet = Object.assign(document.createElement("canvas"), { width: RESOLUTION, height: RESOLUTION });
  const ink = sheet.getContext("2d", { willReadFrequently: true });

  // What the network is shown of a state: the test image itself, or the strokes, framed; null when there is nothing.
  function seen({ place, strokes }) {
    if (!strokes.length) return place === null ? null : pixelsOf(place);
    ink.setTransform(1, 0, 0, 1, 0, 0);
    ink.clearRect(0, 0, RESOLUTION, RESOLUTION);
    if (place === null) {
      const points = strokes.flat(), xs = points.map(([x]) => within(x)), ys = points.map(([, y]) => within(y));
      const extent = Math.max(most(xs) - least(xs), most(ys) - least(ys), PEN / 2);
      const pen = NIB * extent, scale = (RESOLUTION - 4) / (extent + pen);
      ink.setTransform(scale, 0, 0, scale, 2 - scale * (least(xs) - pen / 2), 2 - scale * (least(ys) - pen / 2));
      ink.save();
      ink.beginPath(); // what went over the edge is not on the pad
      ink.rect(-pen / 2, -pen / 2, 1 + pen, 1 + pen);
      ink.clip();
      trace(ink, strokes, pen);
      ink.restore();
    } else {
      underlay(ink, RESOLUTION, place);
      ink.setTransform(RESOLUTION, 0, 0, RESOLUTION, 0, 0);
      trace(ink, strokes, PEN);
    }
    const { data: colours } = ink.getImageData(0, 0, RESOLUTION, RESOLUTION);
    return frame(Float64Array.from({ length: RESOLUTION ** 2 }, (_, pixel) => colours[4 * pixel + 3] / 255), RESOLUTION, RESOLUTION);
  }

  function read(picture) {
    const layers = forward(picture), outputs = layers.at(-1);
    const order = outputs.map((_, name) => name).sort((one, other) => outputs[other] - outputs[one]);
    const [first, second] = order.map((name) => ({ name: data.classes[name], part: percent(outputs[name]) }));
    const words = unfamiliarity(layers) > 0 ? `This does not look like a ${data.stroke} (nearest: ${first.name})`
      : outputs[order[0]] >= SURE ? `It reads ${first.name}, at ${first.part}`
      : `Not sure: ${first.name} or ${second.name}, at ${first.part} and ${second.part}`;
    return { outputs, best: order[0], words };
  }

  // Shows what the network makes of the pad; says it, too, unless a stroke is still being drawn.
  function update() {
    waiting = false;
    const state = shown(), picture = seen(state), { outputs, best, words } = picture ? read(picture) : {};
    draw();
    hint.hidden = picture !== null || cursor !== null;
    paint(saw, picture ?? new Uint8Array(rows * columns), data.frame.brightest);
    saw.setAttribute("aria-label", `What the network saw: ${picture ? "the drawing, scaled and centred" : "nothing yet"}`);
    bars.forEach((bar, name) => {
      bar.querySelector("i").style.setProperty("--part", picture ? within(outputs[name]) : 0);
      bar.querySelector(".value").textContent = picture ? percent(outputs[name]) : "–";
      bar.classList.toggle("first", name === best);
    });
    byId("undo").setAttribute("aria-disabled", at === 0);
    byId("redo").setAttribute("aria-disabled", at === states.length - 1);
    if (drawing) return;
    const image = state.place !== null && !state.strokes.length
      ? `; this is test image ${data.rows[state.place].toLocaleString("en")}, and it is ${data.classes[data.actual[state.place]]}`
      : "";
    verdict.textContent = picture ? `${words}${image}.` : greeting;
  }

  function updateSoon() {
    if (!waiting) requestAnimationFrame(update);
    waiting = true;
  }

  // ---- Changing what is on the pad

  function record(state) {
    drawing = null;
    states.splice(++at, Infinity, state);
    update();
  }

  function end() {
    if (drawing) record(shown());
  }

  function clear() {
    const { place, strokes } = shown();
    if (place !== null || strokes.length) record({ place: null, strokes: [] });
  }

  function walk(by) {
    drawing = null;
    at = Math.min(Math.max(at + by, 0), states.length - 1);
    update();
  }

  function put(place) {
    record({ place, strokes: [] });
  }

  // ---- Mouse, pen and finger. One pointer draws at a time, and a pen comes before a touch: that is the palm.

  const pointOf = (event) => {
    const area = pad.getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  };

  pad.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    const { pointerId: id, pointerType: type } = event;
    if (type === "touch" && event.timeStamp - penSeen < PALM) return;
    if (drawing?.id === "keys") end();
    if (drawing && !(type === "pen" && drawing.type === "touch")) return;
    pad.setPointerCapture(id);
    pad.focus({ preventScroll: true });
    cursor = null;
    drawing = { id, type, points: [pointOf(event)] };
    updateSoon();
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerType === "pen") penSeen = event.timeStamp;
    if (drawing?.id !== event.pointerId) return;
    const steps = event.getCoalescedEvents?.() ?? [];
    drawing.points.push(...(steps.length ? steps : [event]).map(pointOf));
    updateSoon();
  });
  pad.addEventListener("pointerup", (event) => {
    if (event.pointerType === "pen") penSeen = event.timeStamp;
    if (drawing?.id === event.pointerId) end();
  });
  pad.addEventListener("pointercancel", (event) => { // the system took it for a palm or a gesture
    if (drawing?.id !== event.pointerId) return;
    drawing = null;
    update();
  });

  // ---- Keyboard

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const held = new Set(); // two arrows at once go aslant

  pad.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || (drawing && drawing.id !== "keys")) return;
    if (event.key !== " " && !(event.key in ARROWS)) return;
    event.preventDefault();
    if (event.key === " ") {
      if (event.repeat) return;
      cursor ??= [0.5, 0.5];
      if (drawing) end();
      else drawing = { id: "keys", points: [cursor] };
    } else {
      held.add(event.key);
      const step = event.shiftKey ? FINE_STEP : STEP;
      cursor = (cursor ?? [0.5, 0.5]).map((value, axis) =>
        within([...held].reduce((sum, key) => sum + step * ARROWS[key][axis], value)));
      drawing?.points.push(cursor);
    }
    const [across, down] = cursor.map((value) => Math.round(100 * value));
    penState.textContent = `pen ${drawing ? "down" : "up"}, ${across} across, ${down} down`;
    update();
  });
  pad.addEventListener("keyup", (event) => held.delete(event.key));
  pad.addEventListener("focus", draw);
  pad.addEventListener("blur", () => {
    held.clear();
    if (drawing?.id === "keys") end();
    draw();
  });

  const section = pad.closest("section");
  document.addEventListener("keydown", (event) => {
    if (event.altKey || !(event.target === document.body || section.contains(event.target))) return;
    const key = event.key.toLowerCase(), command = event.ctrlKey || event.metaKey;
    if (key === "escape") clear();
    else if (command && key === "z") walk(event.shiftKey ? 1 : -1);
    else if (command && key === "y") walk(1);
    else return;
    event.preventDefault();
  });

  // ---- Buttons. Each press of the last two puts on another test image.

  byId("undo").addEventListener("click", () => walk(-1));
  byId("redo").addEventListener("click", () => walk(1));
  byId("clear").addEventListener("click", clear);
  for (const [name, places] of [["typical", data.typical], ["hard", data.hard]]) {
    let next = 0;
    byId(name).addEventListener("click", () => put(places[next++ % places.length]));
    byId(name).hidden = !places.length;
  }

  new ResizeObserver(fit).observe(pad);
  window.addEventListener("resize", fit); // zooming, or another screen
  fit();
  update();
  return { put, shown, seen, read };
};
