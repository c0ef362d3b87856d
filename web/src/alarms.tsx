// What is wrong, in plain words, with a button that does what can be done about it.
import { signal } from '@preact/signals';
import { announce } from './announce';
import { postJson, Verdict } from './api';
import { copyText } from './copy';
import { bytes, duration } from './format';
import { connection, held, now, plan, tiers, trouble, verdicts } from './live';
import { report } from './report';

const kDriversRoom = 1.05; // drivers round what they give
const busy = signal(false);
const problem = signal('');

// The model goes on by another plan, under its answers.
async function replan(body: Record<string, unknown>): Promise<void> {
  busy.value = true;
  problem.value = '';
  try {
    const got = await postJson<{ interruption: { load_seconds: number } }>('/api/loadline/budget', body);
    announce(`Loaded by another plan in ${duration(got.interruption.load_seconds)}; answers go on`, true);
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  } finally {
    busy.value = false;
  }
}

interface Remedy {
  label: string;
  act: (button: HTMLElement) => void;
}

const kWithWhatIsFree: Remedy = { label: 'Plan again with the memory that is free now', act: () => void replan({ ram: 'auto', vram: 'auto' }) };
const kReport: Remedy = { label: 'Copy a report', act: (button) => void report().then((text) => copyText(text, button)) };

function remedyOf(kind: string): Remedy | null {
  const threads = plan.value?.shape.threads ?? 1;
  switch (kind) {
    case 'spilled':
    case 'squeezed':
    case 'thrashing':
      return kWithWhatIsFree;
    case 'starved':
    case 'throttled':
      if (threads < 2) return null;
      return { label: `Go on with ${threads - 1} ${threads === 2 ? 'thread' : 'threads'}`, act: () => void replan({ threads: threads - 1 }) };
    case 'disk_slow':
      return { label: 'Plan without reading from the disk', act: () => void replan({ disk: false, ram: 'auto' }) };
    case 'mispredicted':
      return { label: 'Copy the command that measures', act: (button) => void copyText('loadline devices --measure', button) };
    default:
      return kReport;
  }
}

function Remedies({ kind }: { kind: string }) {
  const remedy = remedyOf(kind);
  return (
    <>
      {remedy && (
        <button type="button" disabled={busy.value} onClick={(event) => remedy.act(event.currentTarget)}>
          {remedy.label}
        </button>
      )}{' '}
      <a href="#whatif">See what would fit</a>
    </>
  );
}

function sentenceOf({ kind, slowdown, evidence, remedy }: Verdict): string {
  const times = slowdown && slowdown > 1.05 ? `; answers take ${slowdown.toFixed(1)} times as long` : '';
  return `${kind.replaceAll('_', ' ')}: ${evidence ?? 'the machine is not as planned'}${times}. ${remedy ?? ''}`;
}

export function Alarms() {
  const ram = tiers.value?.find((tier) => tier.kind === 'ram');
  const more = ram && held.value ? held.value - ram.planned : 0;
  const list: { kind: string; text: string }[] = [];
  if (trouble.value) list.push({ kind: 'trouble', text: trouble.value });
  else if (more > 0) list.push({ kind: 'trouble', text: `The process holds ${bytes(more)} more RAM than was planned.` });
  (tiers.value ?? []).forEach((tier, i) => {
    const over = tier.kind === 'gpu' ? (now.value?.[i]?.held ?? 0) - tier.planned * kDriversRoom : 0;
    if (over > 0) list.push({ kind: 'squeezed', text: `${tier.name} holds ${bytes(over)} more for this program than was planned, by its driver's account.` });
  });
  for (const verdict of verdicts.value ?? []) list.push({ kind: verdict.kind, text: sentenceOf(verdict) });
  if (list.length === 0 || connection.value !== 'live') return null;
  return (
    <div class="alarm" role="alert">
      {list.map(({ kind, text }) => (
        <p key={kind + text}>
          {text} <Remedies kind={kind} />
        </p>
      ))}
      {problem.value && <p class="error">{problem}</p>}
    </div>
  );
}
