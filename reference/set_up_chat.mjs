/**
 * A model set up for ChatML by rxtune, for check_chat_format.py.
 *
 *     node reference/set_up_chat.mjs MODEL_DIR OUT_DIR [MULTIPLE] [parity]
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { load, logits, orThrow, saveModel, setupChatFormat } from '../dist/index.js';

const [modelDir, outDir, multiple, parity] = process.argv.slice(2);
const ready = setupChatFormat(await orThrow(load(modelDir)), {
  ...(multiple === undefined ? {} : { resizeToMultipleOf: Number(multiple) }),
  parity: parity === 'parity',
});
if (ready._tag === 'Left') throw ready.left;
const { model, tokenizer } = ready.right;
await orThrow(saveModel(outDir, model, { tokenizer }));
const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Two red mugs?' },
];
const rendered = tokenizer.chatTemplate.render({ messages, addGenerationPrompt: true });
const text = rendered.right.text;
const ids = tokenizer.encode(text, { addSpecialTokens: false });
const values = logits(model, {
  inputIds: ids,
  positionIds: ids.map((_, i) => i),
  cuSeqlens: Int32Array.from([0, ids.length]),
});
writeFileSync(
  join(outDir, 'ours.json'),
  JSON.stringify({ messages, text, input_ids: [...ids], logits: await values.array() }),
);
