// Compares rxtune with what random_cases.py recorded: rendered text or refusal, provenance over all of it, ids, decoded text, windows.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { makeChatTemplate, makeTokenizer, packRows } from 'rxtune';

const { special, templates, tokenizers, packings } = JSON.parse(readFileSync(process.argv[2] ?? 'cases.json', 'utf8'));

const parsed = (directory, name) => {
  const plain = join(directory, name);
  if (existsSync(plain)) return JSON.parse(readFileSync(plain, 'utf8'));
  return existsSync(`${plain}.gz`) ? JSON.parse(gunzipSync(readFileSync(`${plain}.gz`)).toString('utf8')) : {};
};

let cases = 0;
let different = 0;
const differs = (what, wanted, found) => {
  different += 1;
  let at = 0;
  while (at < wanted.length && wanted[at] === found[at]) at += 1;
  const around = (value) => JSON.stringify(value.slice(Math.max(0, at - 20), at + 40));
  console.log(`${what}: ${around(wanted)} there, ${around(found)} here`);
};

for (const { name, source, cases: recorded } of templates) {
  const made = makeChatTemplate(source, { specialTokens: special });
  for (const { conversation, text, error } of recorded) {
    cases += 1;
    const result = made._tag === 'Right' ? made.right.render(conversation) : made;
    if (result._tag === 'Left') {
      if (error === undefined) differs(name, text, `refused: ${result.left.message}`);
      continue;
    }
    const { text: found, provenance } = result.right;
    if (error !== undefined) differs(name, `refused: ${error}`, found);
    else if (found !== text) differs(name, text, found);
    const ends = provenance.map(({ end }) => end);
    const whole = provenance.every(({ start, end }, i) => start === (ends[i - 1] ?? 0) && end > start);
    if (!whole || (ends.at(-1) ?? 0) !== found.length) differs(`${name}, provenance`, 'end to end', 'not so');
  }
}

for (const { directory, cases: recorded } of tokenizers) {
  const made = makeTokenizer(parsed(directory, 'tokenizer.json'), parsed(directory, 'tokenizer_config.json'));
  if (made._tag === 'Left') throw made.left;
  for (const { text, addSpecialTokens, ids, decoded } of recorded) {
    cases += 1;
    const found = [...made.right.encodeWithOffsets(text, { addSpecialTokens }).ids];
    if (found.join() !== ids.join()) differs(`${directory} ${JSON.stringify(text)}`, ids.join(' '), found.join(' '));
    else if (made.right.decode(ids) !== decoded) differs(`${directory}, decoded`, decoded, made.right.decode(ids));
  }
}

for (const { lengths, maxLength, packingStrategy, windows } of packings) {
  cases += 1;
  let next = 0;
  const rows = lengths.map((length) => {
    const inputIds = Int32Array.from({ length }, () => next++);
    return { inputIds, labels: inputIds, seqLengths: [length] };
  });
  // TRL tells the lengths of documents where it packs by best fit alone.
  const packed = packRows({ maxLength, packingStrategy })(rows).map(({ inputIds, seqLengths }, i) => ({
    ids: [...inputIds],
    lengths: windows[i]?.lengths === null ? null : seqLengths,
  }));
  const what = `${packingStrategy}, windows of ${maxLength}`;
  if (JSON.stringify(packed) !== JSON.stringify(windows))
    differs(what, JSON.stringify(windows), JSON.stringify(packed));
}

console.log(`${cases} cases, ${different} different`);
process.exitCode = different === 0 ? 0 : 1;
