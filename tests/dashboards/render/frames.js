// What Prometheus answered, as the data frames that Grafana's data source makes of it, with the panel's own field config.
import {
  FieldConfigOptionsRegistry,
  FieldType,
  applyFieldOverrides,
  createDataFrame,
  getValueFormats,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer].map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation,
  })),
);

// Grafana has an editor for each of these; to apply them none is needed.
const STANDARD = ['unit', 'min', 'max', 'decimals', 'noValue', 'color', 'mappings', 'thresholds', 'links', 'displayName'];
const CUSTOM = [
  'align',
  'cellOptions',
  'filterable',
  'width',
  'minWidth',
  'drawStyle',
  'lineWidth',
  'lineStyle',
  'lineInterpolation',
  'fillOpacity',
  'fillBelowTo',
  'pointSize',
  'showPoints',
  'spanNulls',
  'stacking',
  'thresholdsStyle',
  'axisPlacement',
  'hideFrom',
  'scaleDistribution',
  'barAlignment',
  'barWidthFactor',
];
// What Grafana's panel sets where a dashboard says nothing.
const UNSAID = {
  timeseries: {
    axisPlacement: 'auto',
    hideFrom: { legend: false, tooltip: false, viz: false },
    scaleDistribution: { type: 'linear' },
    barAlignment: 0,
    barWidthFactor: 0.6,
    thresholdsStyle: { mode: 'off' },
  },
};
const registry = new FieldConfigOptionsRegistry(() =>
  [
    ...STANDARD.map((id) => ({ id, path: id })),
    ...CUSTOM.map((id) => ({ id: `custom.${id}`, path: id, isCustom: true })),
  ].map((item) => ({
    ...item,
    name: item.id,
    process: (value) => value,
    shouldApply: () => true,
    override: () => null,
    editor: () => null,
  })),
);

const UNITS = new Set(getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value)));
const fill = (legend, labels) => legend.replace(/{{\s*(\w+)\s*}}/g, (_, name) => labels[name] ?? '');
const number = (text) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text));

function series({ refId, legendFormat }, results, step) {
  return results.map(({ metric, values, value }) => {
    const samples = values ?? [value];
    const config = legendFormat ? { displayNameFromDS: fill(legendFormat, metric) } : {};
    return createDataFrame({
      refId,
      fields: [
        // The interval is what tells a gap from a line.
        {
          name: 'Time',
          type: FieldType.time,
          values: samples.map(([time]) => time * 1000),
          config: { interval: step * 1000 },
        },
        { name: 'Value', type: FieldType.number, values: samples.map(([, text]) => number(text)), labels: metric, config },
      ],
    });
  });
}

function table({ refId }, results, only) {
  const labels = [...new Set(results.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return createDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: results.map(({ value }) => value[0] * 1000) },
      ...labels.map((name) => ({
        name,
        type: FieldType.string,
        values: results.map(({ metric }) => metric[name] ?? ''),
        config: {},
      })),
      {
        name: only ? 'Value' : `Value #${refId}`,
        type: FieldType.number,
        values: results.map(({ value }) => number(value[1])),
        config: {},
      },
    ],
  });
}

export async function frames(panel, results, { theme, step }) {
  const answered = panel.targets.filter(({ refId }) => results[refId].length > 0);
  const raw = answered.flatMap((target) =>
    target.format === 'table'
      ? [table(target, results[target.refId], answered.length === 1)]
      : series(target, results[target.refId], step),
  );
  const data = await firstValueFrom(transformDataFrame(panel.transformations ?? [], raw));
  const { defaults, overrides } = panel.fieldConfig;
  // JSON has no -Infinity, of which Grafana makes a null.
  const steps = (thresholds) =>
    thresholds && { ...thresholds, steps: thresholds.steps.map((each) => ({ ...each, value: each.value ?? -Infinity })) };
  const config = {
    defaults: {
      ...defaults,
      thresholds: steps(defaults.thresholds),
      custom: { ...UNSAID[panel.type], ...defaults.custom },
    },
    overrides: overrides.map((each) => ({
      ...each,
      properties: each.properties.map((it) => (it.id === 'thresholds' ? { ...it, value: steps(it.value) } : it)),
    })),
  };
  const units = [
    defaults.unit,
    ...overrides.flatMap(({ properties }) => properties.filter(({ id }) => id === 'unit').map(({ value }) => value)),
  ];
  const unknown = units.filter((unit) => !UNITS.has(unit));
  if (unknown.length) throw new Error(`${panel.title}: Grafana has no unit ${unknown}`);
  const applied = applyFieldOverrides({
    data,
    theme,
    fieldConfig: config,
    fieldConfigRegistry: registry,
    timeZone: 'browser',
    replaceVariables: (text) => text,
  });
  return { data: applied, config };
}
