// Text of a model as Markdown. What comes out can hold no script, no style, no image and no form, whatever went in.
import createDOMPurify from 'dompurify';
import { Marked, Token } from 'marked';
import { memo } from 'preact/compat';
import { copyText } from './copy';

const marked = new Marked({ gfm: true, breaks: true, async: false });
// Markup in an answer is text like any other: it is shown, not followed.
const escaped = (text: string) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
marked.use({ renderer: { html: ({ text }) => escaped(text), image: ({ text, href }) => escaped(`[image: ${text || href}]`) } });
const purify = createDOMPurify(window);
const kPolicy = {
  ALLOWED_TAGS: [
    'a', 'b', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'li', 'ol', 'p',
    'pre', 's', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul',
  ],
  ALLOWED_ATTR: ['href', 'align', 'start', 'title'],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};
purify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  if (!node.hasAttribute('href')) return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer');
});

const Html = memo(({ html }: { html: string }) => <div class="md" dangerouslySetInnerHTML={{ __html: html }} />);

const Code = memo(({ text, language }: { text: string; language: string }) => (
  <figure class="code">
    <figcaption>
      <span>{language || 'text'}</span>
      <button type="button" class="quiet" onClick={(event) => copyText(text, event.currentTarget)}>
        Copy
      </button>
    </figcaption>
    <pre tabIndex={0} aria-label={`Code${language ? ` in ${language}` : ''}`}>
      <code>{text}</code>
    </pre>
  </figure>
));

// A block is drawn again only when its own text changed: while an answer streams in, that is the last one.
const Block = memo(
  ({ token }: { token: Token }) => {
    if (token.type === 'space') return null;
    if (token.type === 'code') return <Code text={token.text} language={(token.lang ?? '').slice(0, 20)} />;
    return <Html html={purify.sanitize(marked.parser([token]), kPolicy)} />;
  },
  (a, b) => a.token.type === b.token.type && a.token.raw === b.token.raw,
);

export function Markdown({ text }: { text: string }) {
  let tokens: Token[];
  try {
    tokens = marked.lexer(text);
  } catch {
    return <p class="plain">{text}</p>;
  }
  return (
    <>
      {tokens.map((token, i) => (
        <Block key={i} token={token} />
      ))}
    </>
  );
}
