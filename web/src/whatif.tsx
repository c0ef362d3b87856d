// What would be with other settings: the server plans it, nothing is loaded. A refusal is drawn as the bar that overflows.
import { batch, effect, signal } from '@preact/signals';
import { Plan, postJson, Suggestion, WhatIf as Answer } from './api';
import { announce } from './announce';
import { TierBars } from './bars';
import { copyText } from './copy';
import { bytes, count, duration, parseBytes, rate } from './format';
import { change, model, modelName, plan, tiers } from './live';

interface Form {
  context: number | 'max' | null; // null: as it is now
  layers: 'auto' | 'all' | number;
  k: string;
  v: string;
  sequences: number | null;
  ram: string; // "": all that is free
  vram: string;
  card: string; // "": this machine
  disk: 'auto' | 'on' | 'off';
}
const kNow: Form = { context: null, layers: 'auto', k: '', v: '', sequences: null, ram: '', vram: '', card: '', disk: 'auto' };
const form = signal<Form>(kNow);
const answer = signal<Answer | null>(null);
const problem = signal('');
const waits = signal(false);
const kCards = ['GTX 1060', 'RTX 2060', 'RTX 3050 Ti Mobile', 'RTX 3060', 'RTX 3090', 'RTX 4060', 'RTX 4070', 'RTX 4090', 'RTX 5090', 'RX 6700 XT', 'RX 7900 XTX', 'Arc A770'];

const set = (part: Partial<Form>) => (form.value = { ...form.value, ...part });

function bodyOf(f: Form): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  if (f.context !== null) body.context = f.context;
  if (f.layers !== 'auto') body.gpu_layers = f.layers;
  if (f.k) body.cache_type_k = f.k;
  if (f.v) body.cache_type_v = f.v;
  if (f.sequences !== null) body.sequences = f.sequences;
  if (f.ram) body.ram = f.ram;
  if (f.vram) body.vram = f.vram;
  if (f.card) body.gpus = [f.card];
  if (f.disk !== 'auto') body.disk = f.disk === 'on';
  return body;
}

const quoted = (text: string) => (/^[\w.,:=/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

// The command that does the same; on another machine's card it can only be planned.
export function commandOf(f: Form, name: string, now: Plan['shape']): string {
  const words = ['loadline', f.card ? 'plan' : 'serve'];
  if (name && name !== 'demo') words.push('-m', `${name}.gguf`);
  if (f.card) words.push('--gpu', f.card);
  words.push('-c', String(f.context ?? now.context));
  if (f.layers !== 'auto') words.push('-ngl', String(f.layers));
  const k = f.k || now.k_type.toLowerCase();
  const v = f.v || now.v_type.toLowerCase();
  if (k !== 'f16') words.push('-ctk', k);
  if (v !== 'f16') words.push('-ctv', v);
  words.push('-np', String(f.sequences ?? now.sequences), '-b', String(now.batch), '-t', String(now.threads));
  if (f.ram) words.push('--ram', f.ram);
  if (f.vram) words.push('--vram', f.vram);
  if (f.disk !== 'auto') words.push('--disk', f.disk);
  return words.map(quoted).join(' ');
}

// What a suggestion's flags change in the form; null where it takes more than flags.
export function changeOf(how: string): Partial<Form> | null {
  if (how === 'leave -ngl out') return { layers: 'auto' };
  const words = how.split(/\s+/).filter(Boolean);
  const out: Partial<Form> = {};
  if (words.length === 0 || words.length % 2 !== 0) return null;
  for (let i = 0; i < words.length; i += 2) {
    const value = words[i + 1]!;
    switch (words[i]) {
      case '-c': out.context = value === 'max' ? 'max' : Number(value); break;
      case '-ngl': out.layers = value === 'auto' || value === 'all' ? value : Number(value); break;
      case '-ctk': out.k = value; break;
      case '-ctv': out.v = value; break;
      case '-np': out.sequences = Number(value); break;
      case '--ram': out.ram = value; break;
      case '--vram': out.vram = value; break;
      case '--disk': out.disk = value as Form['disk']; break;
      default: return null;
    }
  }
  return out;
}

let stop: AbortController | null = null;
let quick = 0;
let slow = 0;

// A plan soon after each move; what would fit or be faster, which takes longer, once nothing moves.
function replan(f: Form): void {
  clearTimeout(quick);
  clearTimeout(slow);
  const go = async (suggest: boolean) => {
    stop?.abort();
    const mine = (stop = new AbortController());
    waits.value = true;
    try {
      const got = await postJson<Answer>('/api/loadline/plan', { ...bodyOf(f), suggest }, mine.signal);
      if (mine.signal.aborted) return;
      batch(() => {
        if (!suggest && got.fits && answer.value?.fits) got.suggestions = answer.value.suggestions ?? [];
        answer.value = got;
        problem.value = '';
      });
      if (suggest) announce(got.fits ? `It fits; ${rate(got.plan.prediction.generation_rate)} tokens a second predicted` : (got.error ?? 'It does not fit'));
    } catch (error) {
      if (mine.signal.aborted) return;
      problem.value = error instanceof Error ? error.message : String(error);
    } finally {
      if (stop === mine) waits.value = false;
    }
  };
  quick = window.setTimeout(() => void go(false), 60);
  slow = window.setTimeout(() => void go(true), 600);
}

const shown = signal(false);
effect(() => {
  const f = form.value;
  if (shown.value && modelName.value) replan(f);
});
export const showWhatIf = (is: boolean) => (shown.value = is);

// Sliders over sizes go by eighths of a doubling.
function Size({ label, value, least, most, onChange }: { label: string; value: string; least: number; most: number; onChange: (text: string) => void }) {
  const steps = Math.ceil(Math.log2(most / least) * 8);
  const size = parseBytes(value);
  const at = value ? Math.round(Math.log2(size / least) * 8) : steps + 1;
  const write = (step: number) => {
    const wanted = least * 2 ** (step / 8);
    return wanted < 2 ** 30 ? `${Math.round(wanted / 2 ** 20)}MiB` : `${(wanted / 2 ** 30).toFixed(1)}GiB`;
  };
  return (
    <label class="block">
      {label}
      <span class="row">
        <input
          type="range"
          min={0}
          max={steps + 1}
          value={at}
          aria-valuetext={value || 'all that is free'}
          onInput={(event) => {
            const step = Number(event.currentTarget.value);
            onChange(step > steps ? '' : write(step));
          }}
        />
        <input
          class="short"
          aria-label={`${label}, as text`}
          value={value}
          placeholder="all free"
          onChange={(event) => {
            const text = event.currentTarget.value.replaceAll(' ', '');
            if (text === '' || parseBytes(text) > 0) onChange(text);
            else event.currentTarget.value = value;
          }}
        />
      </span>
    </label>
  );
}

function Controls({ now }: { now: Plan }) {
  const f = form.value;
  const trained = model.value?.meta?.n_ctx_train || now.shape.context;
  const most = Math.max(trained * 4, now.shape.context * 4);
  const context = f.context === null ? now.shape.context : f.context === 'max' ? most : f.context;
  const machine = answer.value?.tiers ?? tiers.value ?? [];
  const ram = machine.find((tier) => tier.kind === 'ram');
  const gpu = machine.find((tier) => tier.kind === 'gpu');
  const layers = 1 + now.groups.filter((group) => group.name.endsWith('.attn')).length;
  const steps = Math.ceil(Math.log2(most / 256) * 4);
  return (
    <form class="controls" onSubmit={(event) => event.preventDefault()}>
      <label class="block">
        Context <small>tokens, for all sessions together; trained for {count(trained)}</small>
        <span class="row">
          <input
            type="range"
            min={0}
            max={steps}
            value={Math.round(Math.log2(Math.max(context, 256) / 256) * 4)}
            aria-valuetext={`${count(context)} tokens`}
            onInput={(event) => set({ context: Math.round((256 * 2 ** (Number(event.currentTarget.value) / 4)) / 32) * 32 })}
          />
          <input
            class="short"
            type="number"
            min={1}
            aria-label="Context, as a number"
            value={f.context === 'max' ? '' : context}
            placeholder={f.context === 'max' ? 'max' : ''}
            onChange={(event) => Number(event.currentTarget.value) > 0 && set({ context: Math.round(Number(event.currentTarget.value)) })}
          />
          <button type="button" class="quiet" onClick={() => set({ context: 'max' })}>
            Most that fits
          </button>
        </span>
      </label>
      <Size label="RAM budget" value={f.ram} least={2 ** 22} most={ram?.capacity || 2 ** 35} onChange={(text) => set({ ram: text })} />
      {gpu && <Size label="Graphics memory budget" value={f.vram} least={2 ** 26} most={gpu.capacity || 2 ** 34} onChange={(text) => set({ vram: text })} />}
      {gpu && (
        <label class="block">
          Layers on the GPU
          <span class="row">
            <select
              value={typeof f.layers === 'number' ? 'number' : f.layers}
              aria-label="How layers are placed"
              onChange={(event) => {
                const value = event.currentTarget.value;
                set({ layers: value === 'number' ? layers : (value as 'auto' | 'all') });
              }}
            >
              <option value="auto">as is fastest</option>
              <option value="all">all</option>
              <option value="number">this many:</option>
            </select>
            {typeof f.layers === 'number' && (
              <>
                <input type="range" min={0} max={layers} value={f.layers} aria-label="Number of layers" onInput={(event) => set({ layers: Number(event.currentTarget.value) })} />
                <output>
                  {f.layers} of {layers}
                </output>
              </>
            )}
          </span>
        </label>
      )}
      <div class="row">
        <CacheType label="Keys of the cache" now={now.shape.k_type} value={f.k} onChange={(k) => set({ k })} />
        <CacheType label="Values of the cache" now={now.shape.v_type} value={f.v} onChange={(v) => set({ v })} />
        <label>
          Sessions at once
          <input
            class="short"
            type="number"
            min={1}
            max={256}
            value={f.sequences ?? now.shape.sequences}
            onChange={(event) => Number(event.currentTarget.value) > 0 && set({ sequences: Number(event.currentTarget.value) })}
          />
        </label>
        <label>
          Weights from disk
          <select value={f.disk} onChange={(event) => set({ disk: event.currentTarget.value as Form['disk'] })}>
            <option value="auto">if they must</option>
            <option value="on">yes</option>
            <option value="off">never</option>
          </select>
        </label>
      </div>
      <label class="block">
        Graphics card <small>what another machine's card would do</small>
        <input list="cards" value={f.card} placeholder="this machine's" onChange={(event) => set({ card: event.currentTarget.value.trim(), vram: '' })} />
        <datalist id="cards">
          {kCards.map((card) => (
            <option key={card} value={card} />
          ))}
        </datalist>
      </label>
      <div class="row">
        <button type="button" onClick={() => (form.value = kNow)}>
          As it is now
        </button>
      </div>
    </form>
  );
}

function CacheType({ label, now, value, onChange }: { label: string; now: string; value: string; onChange: (text: string) => void }) {
  return (
    <label>
      {label}
      <select value={value || now.toLowerCase()} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="f32">f32</option>
        <option value="f16">f16</option>
        <option value="q8_0">q8_0</option>
      </select>
    </label>
  );
}

function Suggestions({ list, fits }: { list: Suggestion[]; fits: boolean }) {
  if (list.length === 0) return null;
  return (
    <section aria-label={fits ? 'What would be faster' : 'What fits'}>
      <h3>{fits ? 'What would be faster' : 'What fits'}</h3>
      <ul class="suggestions">
        {list.map((one) => {
          const change = changeOf(one.how);
          return (
            <li key={one.what + one.how}>
              <span>
                <b>{one.what}</b>
                {one.effect ? `, ${one.effect}` : ''} · {rate(one.generation_rate)} tok/s
                {!change && one.how ? ` · ${one.how}` : ''}
              </span>
              {change && (
                <button type="button" onClick={() => set(change)}>
                  Apply {one.how}
                </button>
              )}
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function Result({ got }: { got: Answer }) {
  const { prediction } = got.plan;
  return (
    <>
      {got.fits ? (
        <dl class="figures" aria-label="Predicted">
          <div>
            <dt>generation</dt>
            <dd>{rate(prediction.generation_rate)} tok/s</dd>
            <dd class="stats">bound by {prediction.generation_bound}</dd>
          </div>
          <div>
            <dt>prompt</dt>
            <dd>{rate(prediction.prompt_rate)} tok/s</dd>
            <dd class="stats">bound by {prediction.prompt_bound}</dd>
          </div>
          <div>
            <dt>load</dt>
            <dd>{duration(prediction.load_seconds)}</dd>
            <dd class="stats">context {count(got.plan.shape.context)}</dd>
          </div>
        </dl>
      ) : (
        <div class="alarm" role="alert">
          <p>
            <b>It does not fit:</b> {got.error}
          </p>
        </div>
      )}
      <Suggestions list={got.suggestions ?? []} fits={got.fits} />
      {got.tiers.map((tier, i) => (
        <TierBars key={`${tier.kind}${i}`} plan={got.plan} tier={tier} index={i} live={false} />
      ))}
      {got.assumed.length > 0 && <p class="stats">Assumed: {got.assumed.join(', ')} (`loadline devices --measure` measures)</p>}
    </>
  );
}

// On a narrow screen the answer lies below the sliders: in a line, it stays in sight.
function Verdict({ got }: { got: Answer }) {
  const over = got.tiers.map((tier) => tier.planned - tier.budget).filter((excess) => excess > 0);
  const text = got.fits
    ? `Fits · ${rate(got.plan.prediction.generation_rate)} tok/s`
    : `Does not fit${over.length > 0 ? ` · ${bytes(Math.max(...over))} too much` : ''}`;
  return (
    <p class={`verdict ${got.fits ? '' : 'error'}`}>
      {text} <a href="#whatif" onClick={(event) => (event.preventDefault(), document.getElementById('outcome')?.scrollIntoView())}>See where</a>
    </p>
  );
}

// The model goes on by this plan, under the answers that it is giving.
const loading = signal(false);

async function load(f: Form): Promise<void> {
  loading.value = true;
  problem.value = '';
  const body = { ...bodyOf(f), ram: f.ram || 'auto', vram: f.vram || 'auto' };
  try {
    const got = await postJson<{ interruption: { load_seconds: number } }>('/api/loadline/budget', body);
    announce(`Loaded in ${duration(got.interruption.load_seconds)}; answers go on`, true);
    form.value = kNow;
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  } finally {
    loading.value = false;
  }
}

function Load({ f, got }: { f: Form; got: Answer | null }) {
  const now = change.value;
  if (loading.value || now?.state === 'loading') {
    return (
      <p class="row">
        <progress aria-label="Loading" max={now?.of || 1} value={now?.loaded ?? 0} />
        <button type="button" onClick={() => void postJson('/api/loadline/cancel', {})}>
          Cancel
        </button>
      </p>
    );
  }
  return (
    <p>
      <button type="button" class="main" disabled={!got?.fits || f.card !== ''} onClick={() => void load(f)}>
        Load this
      </button>{' '}
      <span class="stats">{f.card ? "another machine's card can be planned for only" : 'answers pause while it loads, and go on'}</span>
    </p>
  );
}

export function WhatIf() {
  const now = plan.value;
  if (!now) return <p class="stats pad">Waiting for a model …</p>;
  // A plan that fits is named with all that makes it, which may be less than what was running.
  const command = commandOf(form.value, modelName.value, answer.value?.fits ? answer.value.plan.shape : now.shape);
  return (
    <div class="view split">
      <div>
        <h2>What if</h2>
        <p class="stats">
          {now.model.name}, {bytes(now.model.bytes)}: move anything, and see where every byte would lie and how fast it would be. Nothing is loaded until you say so.
        </p>
        {answer.value && <Verdict got={answer.value} />}
        <Controls now={now} />
        <h3>On the command line</h3>
        <pre class="command" tabIndex={0} aria-label="The command that does the same">
          {command}
        </pre>
        <button type="button" onClick={(event) => copyText(command, event.currentTarget)}>
          Copy the command
        </button>
        <Load f={form.value} got={answer.value} />
      </div>
      <div id="outcome" class={waits.value ? 'waits' : ''} aria-busy={waits.value}>
        {problem.value && (
          <p class="error" role="alert">
            {problem}
          </p>
        )}
        {answer.value && <Result got={answer.value} />}
      </div>
    </div>
  );
}
