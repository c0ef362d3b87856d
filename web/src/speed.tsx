// Speed now and over the last minutes beside what was predicted.
import { useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { Alarms } from './alarms';
import { copyText } from './copy';
import { rate } from './format';
import { plan, predicted, rates, sampled, samples } from './live';
import { report } from './report';

type Kind = 'generation' | 'prompt';

function Plot({ kind, label }: { kind: Kind; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  useEffect(() => {
    const host = box.current!;
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue('--soft').trim();
    const grid = { stroke: style.getPropertyValue('--line').trim(), width: 1 };
    const size = () => ({ width: Math.max(200, host.clientWidth), height: 180 });
    plot.current = new uPlot(
      {
        ...size(),
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
        axes: [
          { stroke: ink, grid, ticks: grid, space: 90, values: (_, at) => at.map((s) => new Date(s * 1000).toLocaleTimeString([], { hourCycle: 'h23' })) },
          { stroke: ink, grid, ticks: grid, size: 64 },
        ],
        series: [
          {},
          { stroke: style.getPropertyValue('--weights').trim(), width: 2, points: { show: false } },
          { stroke: style.getPropertyValue('--kv').trim(), width: 2, dash: [6, 4], points: { show: false } },
        ],
      },
      [[], [], []],
      host,
    );
    const watch = new ResizeObserver(() => plot.current?.setSize(size()));
    watch.observe(host);
    return () => {
      watch.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);
  const drawn = useRef({ at: 0, rate: -1 });
  useSignalEffect(() => {
    void sampled.value;
    // An idle server's line moves now and then, a busy one's with every event.
    const rate = samples[samples.length - 1]?.[kind] ?? 0;
    const now = performance.now();
    if (!plot.current || (rate === 0 && drawn.current.rate === 0 && now - drawn.current.at < 10_000)) return;
    drawn.current = { at: now, rate };
    const line = predicted.value?.[kind] ?? 0;
    plot.current.setData([samples.map((s) => s.time), samples.map((s) => s[kind]), samples.map(() => line)]);
  });
  const now = rates.value?.[kind] ?? 0;
  const wanted = predicted.value?.[kind] ?? 0;
  const share = wanted > 0 && now > 0 ? `${Math.round((100 * now) / wanted)} % of what was predicted` : 'nothing measured yet';
  const bound = predicted.value?.[`${kind}_bound`];
  return (
    <section class="tier" aria-label={label}>
      <h3>{label}</h3>
      <p>
        <b class="big">{rate(now)}</b> tok/s while at work · predicted {rate(wanted)} · {share}
      </p>
      <p class="stats">Bound by {bound}: a faster one would make it faster.</p>
      <div class="plot" ref={box} role="img" aria-label={`${label} over the last minutes: ${rate(now)} tokens a second, predicted ${rate(wanted)}`} />
      <ul class="legend">
        <li>
          <i class="k-now" /> all sessions together
        </li>
        <li>
          <i class="k-predicted" /> predicted
        </li>
      </ul>
    </section>
  );
}

export function Speed() {
  if (!plan.value) return <p class="stats pad">Waiting for the server …</p>;
  return (
    <div class="view">
      <h2>Speed</h2>
      <Alarms />
      <div class="pair">
        <Plot kind="generation" label="Generation" />
        <Plot kind="prompt" label="Prompt" />
      </div>
      <p class="row">
        <button type="button" onClick={({ currentTarget }) => void report().then((text) => copyText(text, currentTarget))}>
          Copy a report
        </button>
        <span class="stats">Plan, figures, hardware, versions, seed and alarms as text for an issue; nothing that was said.</span>
      </p>
    </div>
  );
}
