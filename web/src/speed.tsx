// Speed now and over the last minutes beside what was predicted, and the report for an issue.
import { useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { copyText } from './copy';
import { bytes, rate } from './format';
import { held, model, plan, predicted, rates, sampled, samples, state } from './live';
import { Alarms } from './memory';

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
  useSignalEffect(() => {
    const at = sampled.value;
    // An idle server's line moves once a second, a busy one's with every event.
    const idle = samples[samples.length - 1]?.[kind] === 0;
    if (!plot.current || (idle && at % 4 !== 0)) return;
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

// Plain text for an issue.
export function report(): string {
  const made = plan.value;
  const now = state.value;
  if (!made || !now) return '';
  const lines = [
    `model: ${made.model.name} (${made.model.architecture}, ${model.value?.quantization || '?'}, ${bytes(made.model.bytes)}, ${made.model.fingerprint})`,
    `context ${made.shape.context}, ${made.shape.sequences} at a time, batch ${made.shape.batch}, ${made.shape.threads} threads, KV cache ${made.shape.k_type}/${made.shape.v_type}`,
    `predicted: prompt ${rate(made.prediction.prompt_rate)} tok/s (${made.prediction.prompt_bound}), generation ${rate(made.prediction.generation_rate)} tok/s (${made.prediction.generation_bound})`,
    `measured: prompt ${rate(now.rates.prompt)} tok/s, generation ${rate(now.rates.generation)} tok/s over ${now.activity?.generations ?? 0} answers`,
    ...now.tiers.map((tier) => {
      const purposes = Object.entries(tier.purposes).map(([name, size]) => `${name} ${bytes(size)}`);
      const whose = `${tier.kind} ${tier.name}: planned ${bytes(tier.planned)} of ${bytes(tier.budget)} (${bytes(tier.capacity)}, ${bytes(tier.available)} free before)`;
      return purposes.length > 0 ? `${whose}: ${purposes.join(', ')}` : whose;
    }),
    `held: ${bytes(held.value ?? 0)} of RAM · read from disk while running: ${bytes(now.streamed)}`,
    `alarms: ${[now.trouble, ...(now.watch?.verdicts ?? []).map((v) => `${v.kind}: ${v.evidence ?? ''}`)].filter(Boolean).join('; ') || 'none'}`,
    `page: ${navigator.userAgent}`,
  ];
  return lines.join('\n') + '\n';
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
        <button type="button" onClick={(event) => copyText(report(), event.currentTarget)}>
          Copy a report
        </button>
        <span class="stats">Plan, figures, hardware and alarms as text for an issue; nothing that was said.</span>
      </p>
    </div>
  );
}
