// A dashboard as Grafana shows it, of @grafana/ui's components. What that has no component for is made of the nearest: state-timeline
// (Lanes) and annotations (lines through the graphs).
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import React, { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import {
  ThemeContext,
  createTheme,
  dateTime,
  formattedValueToString,
  getDisplayValueAlignmentFactors,
  getFieldDisplayName,
  getFieldDisplayValues,
  renderMarkdown,
} from '@grafana/data';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, Table, TimeSeries, VizRepeater } from '@grafana/ui';
import { frames } from './frames';

const CELL = 30,
  GAP = 8,
  WIDTH = 1600;
const COLUMN = (WIDTH - 2 * GAP - 23 * GAP) / 24;
const theme = createTheme({ colors: { mode: 'dark' } });
const across = (cells) => cells * COLUMN + (cells - 1) * GAP;
const down = (cells) => cells * CELL + (cells - 1) * GAP;

function Empty({ panel, width, height }) {
  return (
    <div
      style={{
        width,
        height,
        display: 'grid',
        placeItems: 'center',
        textAlign: 'center',
        color: theme.colors.text.secondary,
      }}
    >
      {panel.fieldConfig.defaults.noValue || 'No data'}
    </div>
  );
}

function Values({ panel, data, config, width, height, show }) {
  const { options } = panel;
  const values = () =>
    getFieldDisplayValues({
      data,
      theme,
      fieldConfig: config,
      reduceOptions: options.reduceOptions,
      replaceVariables: (text) => text,
      timeZone: 'browser',
    });
  // As Grafana does: wide panels side by side.
  const side = options.orientation === 'auto' ? (width > height ? 'vertical' : 'horizontal') : options.orientation;
  return (
    <VizRepeater
      getValues={values}
      source={data}
      width={width}
      height={height}
      orientation={side}
      autoGrid
      itemSpacing={3}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={show}
    />
  );
}

const Stat = (props) => (
  <Values
    {...props}
    show={({ value, width, height, count, alignmentFactors }) => {
      const { options } = props.panel;
      return (
        <BigValue
          value={value.display}
          width={width}
          height={height}
          theme={theme}
          count={count}
          colorMode={options.colorMode}
          graphMode="none"
          justifyMode={options.justifyMode}
          wideLayout={options.wideLayout}
          alignmentFactors={alignmentFactors}
          textMode={options.textMode === 'auto' && count === 1 ? 'value' : options.textMode}
        />
      );
    }}
  />
);

const Bars = (props) => (
  <Values
    {...props}
    show={({ value, width, height, count, orientation, alignmentFactors }) => (
      <BarGauge
        value={count === 1 ? { ...value.display, title: undefined } : value.display}
        width={width}
        height={height}
        orientation={orientation}
        field={value.field}
        theme={theme}
        itemSpacing={10}
        text={props.panel.options.text}
        displayMode={props.panel.options.displayMode}
        alignmentFactors={count === 1 ? { ...alignmentFactors, title: '' } : alignmentFactors}
        showUnfilled
        lcdCellWidth={12}
        valueDisplayMode={props.panel.options.valueMode}
      />
    )}
  />
);

function Graph({ panel, data, width, height, range, notes }) {
  return (
    <TimeSeries
      frames={data}
      structureRev={1}
      timeRange={range}
      timeZone="browser"
      width={width}
      height={height}
      legend={panel.options.legend}
      options={panel.options}
    >
      {(builder) => {
        builder.addHook('draw', (plot) => {
          for (const { time, color } of notes.filter(
            ({ time }) => time >= range.from.valueOf() && time <= range.to.valueOf(),
          )) {
            const x = plot.valToPos(time, 'x', true);
            Object.assign(plot.ctx, { strokeStyle: theme.visualization.getColorByName(color), lineWidth: 1 });
            plot.ctx.setLineDash([4, 4]);
            plot.ctx.beginPath();
            plot.ctx.moveTo(x, plot.bbox.top);
            plot.ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
            plot.ctx.stroke();
          }
          plot.ctx.setLineDash([]);
        });
        return null;
      }}
    </TimeSeries>
  );
}

function Lanes({ data, width, height, range }) {
  const left = 120,
    axis = 20;
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const x = (time) => left + ((time - from) / (to - from)) * (width - left);
  const lane = (height - axis) / data.length;
  return (
    <svg width={width} height={height} fontSize={12}>
      {data.map((frame, row) => {
        const [times, values] = frame.fields;
        const y = row * lane + lane * 0.1;
        const spans = [];
        times.values.forEach((time, at) => {
          const last = spans.at(-1);
          const end = time + times.config.interval;
          if (last && last.value === values.values[at] && last.end >= time) last.end = end;
          else spans.push({ start: time, end, value: values.values[at] });
        });
        return (
          <g key={row}>
            <text x={left - 8} y={y + lane * 0.45} textAnchor="end" fill={theme.colors.text.secondary}>
              {getFieldDisplayName(values, frame, data)}
            </text>
            {spans.map(({ start, end, value }) => {
              const shown = values.display(value);
              const wide = Math.max(1, x(Math.min(end, to)) - x(start));
              return (
                <g key={start}>
                  <rect x={x(start)} y={y} width={wide} height={lane * 0.8} fill={shown.color} opacity={0.8} />
                  {wide > 7.5 * shown.text.length && (
                    <text x={x(start) + 5} y={y + lane * 0.45} fill={theme.colors.getContrastText(shown.color)}>
                      {formattedValueToString(shown)}
                    </text>
                  )}
                </g>
              );
            })}
          </g>
        );
      })}
      {[0, 0.25, 0.5, 0.75, 1].map((part) => (
        <text
          key={part}
          x={left + part * (width - left)}
          y={height - 4}
          textAnchor={part === 1 ? 'end' : 'start'}
          fill={theme.colors.text.secondary}
        >
          {dateTime(from + part * (to - from)).format('HH:mm:ss')}
        </text>
      ))}
    </svg>
  );
}

const Rows = ({ panel, data, width, height }) => (
  <Table
    data={data[0]}
    width={width}
    height={height}
    cellHeight={panel.options.cellHeight}
    initialSortBy={panel.options.sortBy}
    timeRange={undefined}
  />
);

const KINDS = { stat: Stat, bargauge: Bars, timeseries: Graph, 'state-timeline': Lanes, table: Rows };

function Panel({ panel, moment }) {
  const [made, setMade] = useState();
  useEffect(() => {
    if (panel.targets) frames(panel, moment.results[panel.id], { theme, step: moment.steps[panel.id] }).then(setMade);
  }, []);
  useEffect(() => {
    if (made || !panel.targets) window.drawn += 1;
  }, [made]);
  const { x, y, w, h } = panel.gridPos;
  const place = {
    position: 'absolute',
    left: GAP + x * (COLUMN + GAP),
    top: y * (CELL + GAP),
    width: across(w),
    height: down(h),
  };
  if (panel.type === 'row')
    return <h4 style={{ ...place, paddingTop: 6 }}>⌄ {panel.title.replace('$instance', moment.instance)}</h4>;
  const Kind = KINDS[panel.type];
  const inside = (width, height) => {
    if (panel.type === 'text')
      return (
        <div
          className="markdown-html"
          style={{ width, height, overflow: 'hidden' }}
          dangerouslySetInnerHTML={{ __html: renderMarkdown(panel.options.content) }}
        />
      );
    if (!made) return null;
    const empty = made.data.every(({ length }) => length === 0) && panel.type !== 'stat';
    if (empty) return <Empty panel={panel} width={width} height={height} />;
    return (
      <Kind
        panel={panel}
        {...made}
        width={width}
        height={height}
        notes={moment.notes}
        range={{ from: dateTime(moment.from * 1000), to: dateTime(moment.to * 1000), raw: { from: 'now-3h', to: 'now' } }}
      />
    );
  };
  return (
    <div style={place}>
      <PanelChrome
        title={panel.title}
        description={panel.description}
        width={place.width}
        height={place.height}
        padding={panel.type === 'table' ? 'none' : 'md'}
      >
        {inside}
      </PanelChrome>
    </div>
  );
}

function Dashboard({ dashboard, moment }) {
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div id="dashboard" style={{ width: WIDTH, background: theme.colors.background.canvas }}>
        <h3 style={{ padding: '12px 16px 0' }}>{dashboard.title}</h3>
        <p style={{ padding: '0 16px', color: theme.colors.text.secondary }}>
          {['datasource', 'job', 'instance']
            .map((name) => dashboard.templating.list.find((it) => it.name === name).label)
            .join(' · ')}
          : All
          {'  —  '}
          {dateTime(moment.from * 1000).format('YYYY-MM-DD HH:mm:ss')} to {dateTime(moment.to * 1000).format('HH:mm:ss')}
        </p>
        <div style={{ position: 'relative', height: bottom * (CELL + GAP) }}>
          {dashboard.panels.map((panel) => (
            <Panel key={panel.id} panel={panel} moment={moment} />
          ))}
        </div>
      </div>
    </ThemeContext.Provider>
  );
}

window.drawn = 0;
window.show = (dashboard, moment) =>
  createRoot(document.getElementById('root')).render(<Dashboard dashboard={dashboard} moment={moment} />);
