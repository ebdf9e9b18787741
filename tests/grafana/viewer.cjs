// Reads panels with their answers from stdin, and writes what a viewer reads of each: texts and colours.
//
//   node viewer.cjs 11 < panels.json        NODE_PATH names the folder that package.json is installed in
//
// What is in @grafana/data is Grafana's own: frames, transformations, overrides, mappings, reducing. What its panels
// (and one transformation) add to that stands here, after Grafana's sources: how a stat, a table, a state timeline and
// a graph choose among texts and colours.
const { JSDOM } = require("jsdom");

const { window } = new JSDOM("", { url: "http://localhost/" });
globalThis.window = window;
for (const name of ["document", "localStorage", "navigator"]) {
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true }); // newer node has a navigator
}
console.info = console.error; // stdout is for the answer, and a library greets there
const { map } = require("rxjs");
const grafana = require(`grafana/${process.argv[2]}.js`);

const theme = grafana.createTheme();
const timeZone = "utc";
const asItIs = (text) => text;
const FALLBACK_COLOUR = "#808080";

// partitionByValues is not in @grafana/data: a frame for each value of a field, which becomes a label.
const partitionByValues = {
  id: "partitionByValues",
  name: "Partition by values",
  operator: (options) => (source) => source.pipe(map((frames) => frames.flatMap((frame) => parts(frame, options)))),
};

function parts(frame, { fields: [key] }) {
  const by = frame.fields.find((field) => field.name === key);
  if (by === undefined) return [frame];
  return [...new Set(by.values)].map((value) => {
    const rows = by.values.flatMap((other, row) => (other === value ? [row] : []));
    const fields = frame.fields
      .filter((field) => field !== by)
      .map((field) => ({
        ...field,
        labels: { ...field.labels, [key]: String(value) },
        values: rows.map((row) => field.values[row]),
      }));
    return { ...frame, fields, length: rows.length };
  });
}

const transformers = new Map(
  [...Object.values(grafana.standardTransformers), partitionByValues].map((one) => [one.id, one]),
);
grafana.standardTransformersRegistry.setInit(() =>
  [...transformers].map(([id, transformation]) => ({ id, name: transformation.name, transformation })),
);

function transformed(transformations, frames) {
  return new Promise((resolve, reject) => {
    let last = frames;
    const observer = { next: (value) => (last = value), error: reject, complete: () => resolve(last) };
    grafana.transformDataFrame(transformations, frames, { interpolate: asItIs }).subscribe(observer);
  });
}

// Grafana's core and each panel register what can be set for a field.
const STANDARD = {
  unit: grafana.unitOverrideProcessor,
  min: grafana.numberOverrideProcessor,
  max: grafana.numberOverrideProcessor,
  decimals: grafana.numberOverrideProcessor,
  displayName: grafana.displayNameOverrideProcessor,
  noValue: grafana.stringOverrideProcessor,
  color: grafana.identityOverrideProcessor,
  thresholds: grafana.thresholdsOverrideProcessor,
  mappings: grafana.valueMappingsOverrideProcessor,
  links: grafana.dataLinksOverrideProcessor,
};
const CUSTOM = ["cellOptions", "displayMode", "align", "spanNulls", "fillOpacity", "lineWidth"];
const settable = (id, path, process, isCustom) => ({ id, path, name: id, process, isCustom, shouldApply: () => true });
const fieldConfigRegistry = new grafana.FieldConfigOptionsRegistry(() => [
  ...Object.entries(STANDARD).map(([id, process]) => settable(id, id, process, false)),
  ...CUSTOM.map((path) => settable(`custom.${path}`, path, grafana.identityOverrideProcessor, true)),
]);

// A dashboard's JSON has null for the lowest threshold; Grafana restores it when it loads one.
function restored(value) {
  if (Array.isArray(value)) return value.map(restored);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, restored(inner)]);
  const copy = Object.fromEntries(entries);
  if (Array.isArray(copy.steps)) copy.steps = copy.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
  return copy;
}

const written = (display) => grafana.formattedValueToString(display);

function tiles(panel, frames, fieldConfig) {
  const { reduceOptions, colorMode } = panel.options;
  const data = frames;
  const found = grafana.getFieldDisplayValues({ fieldConfig, reduceOptions, replaceVariables: asItIs, theme, data, timeZone });
  return found.map(({ display }) => ({
    title: display.title ?? "",
    text: written(display),
    colour: colorMode === "none" ? null : display.color,
  }));
}

function table(frames) {
  const [frame] = frames;
  if (frame === undefined) return { headers: [], rows: [] };
  const cell = (field, row) => {
    const display = field.display(field.values[row]);
    const filled = (field.config.custom?.cellOptions?.type ?? "").startsWith("color-background");
    return { text: written(display), colour: filled ? display.color : null };
  };
  return {
    headers: frame.fields.map((field) => grafana.getFieldDisplayName(field, frame, frames)),
    rows: Array.from({ length: frame.length }, (_, row) => frame.fields.map((field) => cell(field, row))),
  };
}

function series(frames) {
  return frames.flatMap((frame) => {
    const times = frame.fields.find((field) => field.type === "time");
    const values = frame.fields.filter((field) => field.type === "number");
    return times === undefined ? [] : values.map((field) => ({ frame, field, times: times.values }));
  });
}

// A state timeline that merges values whose colours come from thresholds draws the thresholds instead of the values.
function byThreshold(field) {
  const { steps } = field.config.thresholds;
  const format = (value) => written(grafana.getValueFormat(field.config.unit ?? "")(value, field.config.decimals));
  const label = (step, index) =>
    step.value === -Infinity && index < steps.length - 1 ? `< ${format(steps[index + 1].value)}` : `${format(step.value)}+`;
  return (value) => {
    if (value === null) return { text: "null", color: FALLBACK_COLOUR };
    const step = grafana.getActiveThreshold(value, steps);
    return { text: label(step, steps.indexOf(step)), color: step.color };
  };
}

function lanes(panel, frames) {
  const merges = panel.options.mergeValues;
  return series(frames).map(({ frame, field, times }) => {
    const merged = merges && field.config.color?.mode === "thresholds";
    const display = merged ? byThreshold(field) : field.display;
    const maps = (field.config.mappings ?? []).some(({ type, options }) => type === "special" && options.match.startsWith("null"));
    const bars = [];
    let before;
    field.values.forEach((value, index) => {
      if (value === undefined || (value === null && !maps)) {
        before = undefined;
        return;
      }
      const { text, color, ...affixes } = display(value);
      const key = merged ? text : value;
      if (!merges || key !== before) bars.push({ at: times[index], text: written({ text, ...affixes }), colour: color });
      before = key;
    });
    return { name: grafana.getFieldDisplayName(field, frame, frames), bars };
  });
}

function lines(panel, frames) {
  const { calcs } = panel.options.legend;
  return series(frames).map(({ frame, field, times }) => {
    const reduced = grafana.reduceField({ field, reducers: calcs });
    return {
      name: grafana.getFieldDisplayName(field, frame, frames),
      points: field.values.map((value, index) => [times[index], value]),
      legend: Object.fromEntries(calcs.map((calc) => [calc, written(field.display(reduced[calc]))])),
    };
  });
}

// Which overrides apply: to a field, or, where a stat has a tile a row, to a row by its name.
function applied(fieldConfig, frames, shown) {
  return fieldConfig.overrides.map(({ matcher: { id, options } }) => {
    const matches = grafana.fieldMatchers.get(id).get(options);
    const fields = frames.some((frame) => frame.fields.some((field) => matches(field, frame, frames)));
    return fields || (id === "byName" && (shown ?? []).some(({ title }) => title === options));
  });
}

const READERS = {
  stat: (panel, frames, config) => ({ tiles: tiles(panel, frames, config) }),
  table: (panel, frames) => ({ table: table(frames) }),
  "state-timeline": (panel, frames) => ({ lanes: lanes(panel, frames) }),
  timeseries: (panel, frames) => ({ lines: lines(panel, frames) }),
};

async function seen({ panel, frames: wire }) {
  const frames = await transformed(panel.transformations ?? [], wire.map(grafana.toDataFrame));
  const fieldConfig = restored(panel.fieldConfig);
  const options = { data: frames, fieldConfig, fieldConfigRegistry, replaceVariables: asItIs, theme, timeZone };
  const read = READERS[panel.type](panel, grafana.applyFieldOverrides(options), fieldConfig);
  return { ...read, applied: applied(fieldConfig, frames, read.tiles) };
}

async function main() {
  const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
  process.stdout.write(JSON.stringify(await Promise.all(given.map(seen))));
}

main();
