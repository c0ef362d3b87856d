// The clipboard, also where the page came over plain HTTP from another machine and the browser hides its own.
import { announce } from './announce';

export async function copyText(text: string, button?: HTMLElement): Promise<void> {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.setAttribute('aria-hidden', 'true');
    area.className = 'off-screen';
    document.body.append(area);
    area.select();
    done = document.execCommand('copy');
    area.remove();
    button?.focus();
  }
  announce(done ? 'Copied' : 'The browser did not allow copying', true);
}

export function saveFile(name: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
