// A report for an issue, as plain text: plan, figures predicted and measured, hardware, versions, seed. Nothing that was
// said.
import { About, getJson } from './api';
import { bytes, rate } from './format';
import { held, model, plan, state } from './live';
import { pane, path } from './store';

function hardware(machine: About['machine']): string[] {
  if (!machine) return [];
  const { cpu, ram, gpus, disk } = machine;
  return [
    `processor: ${cpu.model}, ${cpu.cores} cores, ${cpu.instruction_sets.join(' ')}`,
    `RAM: ${bytes(ram.total)}; disk: ${disk.name}; measured: ${machine.measured || 'no, speeds are assumed'}`,
    ...gpus.map((gpu) => `GPU: ${gpu.name}, ${bytes(gpu.total)}, ${gpu.driver}`),
  ];
}

function lastAnswer(): string {
  const conversation = pane.value.chat.value;
  const last = path(conversation).filter((message) => message.role === 'assistant' && message.stats).pop();
  if (!last?.stats) return 'last answer: none';
  const { stats } = last;
  const settings = Object.entries(conversation.sampling).filter(([name]) => name !== 'seed' && name !== 'grammar' && name !== 'response_format' && name !== 'stop');
  return (
    `last answer: seed ${last.seed ?? '?'}, ${settings.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(', ') || 'settings of the server'}; ` +
    `prompt ${stats.promptTokens} tokens at ${rate(stats.promptRate)} tok/s (${stats.cachedTokens} cached), ${stats.tokens} tokens at ${rate(stats.rate)} tok/s`
  );
}

export async function report(): Promise<string> {
  const made = plan.value;
  const now = state.value;
  if (!made || !now) return '';
  let about: About = { version: '?', machine: null };
  try {
    about = await getJson<About>('/api/loadline/about');
  } catch {
    // what is known is told
  }
  const { shape, prediction } = made;
  const lines = [
    `loadline ${about.version}`,
    ...hardware(about.machine),
    `model: ${made.model.name} (${made.model.architecture}, ${model.value?.quantization || '?'}, ${bytes(made.model.bytes)}, ${made.model.fingerprint})`,
    `plan: context ${shape.context}, ${shape.sequences} at a time, batch ${shape.batch}, ${shape.threads} threads, KV cache ${shape.k_type}/${shape.v_type}`,
    ...now.tiers.map((tier) => {
      const purposes = Object.entries(tier.purposes).map(([name, size]) => `${name} ${bytes(size)}`);
      const is = tier.held ? `; ${bytes(tier.held)} held, ${bytes(tier.available_now ?? 0)} could be` : '';
      const whose = `${tier.kind} ${tier.name}: planned ${bytes(tier.planned)} of ${bytes(tier.budget)} (${bytes(tier.capacity)}, ${bytes(tier.available)} free before${is})`;
      return purposes.length > 0 ? `${whose}: ${purposes.join(', ')}` : whose;
    }),
    `predicted: prompt ${rate(prediction.prompt_rate)} tok/s (${prediction.prompt_bound}), generation ${rate(prediction.generation_rate)} tok/s (${prediction.generation_bound})`,
    `measured: prompt ${rate(now.rates.prompt)} tok/s, generation ${rate(now.rates.generation)} tok/s over ${now.activity?.generations ?? 0} answers`,
    lastAnswer(),
    `held: ${bytes(held.value ?? 0)} of RAM · read from disk while running: ${bytes(now.streamed)}`,
    `alarms: ${[now.trouble, ...(now.watch?.verdicts ?? []).map((v) => `${v.kind}: ${v.evidence ?? ''}`)].filter(Boolean).join('; ') || 'none'}`,
    `page: ${navigator.userAgent}`,
  ];
  return lines.join('\n') + '\n';
}
