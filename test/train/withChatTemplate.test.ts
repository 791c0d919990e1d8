/** A chat template with something wrong in it: whether the option or a file of it is to be mended is told. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow, render } from '../../src/errors.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import { withChatTemplate } from '../../src/train/loading/withChatTemplate.js';
import { inTemporary } from '../cli/rxtune.js';

const base = 'examples/quickstart/base';
const broken = 'A template.\n{% for m in messages %}{{ m.content }}';
const told = async (template: string): Promise<unknown> => {
  const tokenizer = await orThrow(loadTokenizer(base));
  return E.mapLeft(render)(await withChatTemplate(tokenizer, template)());
};

test('source is that of the option', async () => {
  expect(await told(broken)).toEqual(
    E.left(`field "chatTemplate": 'for' of line 2 is never closed [E_TEMPLATE_SYNTAX]`),
  );
});

test('a file is named, with its line', () =>
  inTemporary(async (directory) => {
    const file = join(directory, 'chat.jinja');
    await writeFile(file, broken);
    expect(await told(file)).toEqual(E.left(expect.stringMatching(/chat\.jinja:\d: 'for' of line 2 is never closed/)));
  }));

test('what fails while a row is rendered is told to be the template, not the row', async () => {
  const tokenizer = await orThrow(loadTokenizer(base));
  const { chatTemplate } = await orThrow(withChatTemplate(tokenizer, '{{ messages | shout }}'));
  expect(chatTemplate?.render({ messages: [] })).toMatchObject({
    left: { message: "the chat template fails: No filter named 'shout'." },
  });
});
