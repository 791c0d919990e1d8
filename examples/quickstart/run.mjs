// Teaches the small base model beside this file to answer a shop's customers with one line of JSON, and shows what that changed.
// No network, a minute or two on two cores; `npm run quickstart -- wasm` runs it on another engine. Leaves out/adapter (PEFT), out/model (merged) and out/report.html.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lastValueFrom, reduce, take, toArray } from 'rxjs';
import {
  chooseEngine,
  decodeSftConfig,
  generateText,
  isFatal,
  jsonl,
  load,
  makeRecorder,
  mergeLora,
  orThrow,
  prepare,
  promptTokens,
  pull,
  render,
  report,
  saveModel,
  sftTrainer,
  tokensOfRow,
} from 'rxtune';

const here = import.meta.dirname;
const base = join(here, 'base');
const out = join(here, 'out');
const train = join(here, 'train.jsonl');

const options = {
  assistantOnlyLoss: true,
  maxLength: 256,
  perDeviceTrainBatchSize: 16,
  maxSteps: 200,
  learningRate: 1e-2,
  warmupSteps: 10,
  r: 16,
  loraAlpha: 32,
  targetModules: 'all-linear',
  saveStrategy: 'no',
  evalSteps: 40,
  evalOnStart: true,
  evalSamples: 4,
  evalSampleTokens: 48,
  outputDir: join(out, 'adapter'),
};

const right = (either) => {
  if (either._tag === 'Left') throw either.left;
  return either.right;
};

/** What the model says to each held-out customer, greedily. */
const answers = async (loaded, rows) => {
  const said = [];
  for (const { messages } of rows) {
    const ids = right(promptTokens(loaded)({ kind: 'messages', messages: messages.slice(0, 1) }));
    const text = generateText(loaded, ids, { maxNewTokens: 48 });
    said.push(await lastValueFrom(text.pipe(reduce((all, piece) => all + piece, ''))));
  }
  return said;
};

const share = (rows, said) => rows.filter(({ messages }, i) => said[i] === messages[1].content).length / rows.length;

const show = (title, rows, said) => {
  console.log(`\n${title}`);
  for (const [i, { messages }] of rows.slice(0, 4).entries()) {
    console.log(`  customer  ${messages[0].content}\n  model     ${said[i].replaceAll('\n', ' ')}`);
  }
};

const main = async () => {
  const heldout = (await readFile(join(here, 'heldout.jsonl'), 'utf8')).trim().split('\n').map(JSON.parse);
  const engine = await orThrow(chooseEngine({ engine: process.argv[2] }));
  console.log(`engine: ${engine.reason}`);
  const loaded = await orThrow(load(base));
  const { tokenizer } = loaded;

  const before = await answers(loaded, heldout);
  show('before', heldout, before);

  const began = performance.now();
  const run = sftTrainer(
    {
      model: loaded.model,
      modelName: base,
      tokenizer,
      trainDataset: jsonl(train),
      evalDataset: jsonl(join(here, 'heldout.jsonl')),
    },
    options,
  );
  const recorder = makeRecorder({ title: 'A shop assistant in one minute', facts: [['engine', engine.engine]] });
  run.events.subscribe(recorder.add);
  let tuned = loaded.model;
  run.begun.subscribe(({ model, trainableParameters, totalParameters, trainSummary, plan }) => {
    tuned = model;
    console.log(`\ntraining ${trainableParameters} of ${totalParameters} parameters, ${plan.totalSteps} steps over`);
    console.log(
      `${trainSummary.rows} rows; ${trainSummary.trainedTokens} of ${trainSummary.tokens} tokens are asked for`,
    );
  });
  run.subscribe((result) => {
    if (result.step % 20 === 0) console.log(`step ${result.step}  loss ${result.loss.toFixed(4)}`);
  });
  await lastValueFrom(run);
  const seconds = (performance.now() - began) / 1000;

  const after = await answers({ model: tuned, tokenizer }, heldout);
  show('after', heldout, after);

  await orThrow(saveModel(join(out, 'model'), right(mergeLora(tuned)).unload(), { tokenizer }));
  const config = orThrow(decodeSftConfig(options));
  const rows = await lastValueFrom(
    pull(jsonl(train)).pipe(prepare({ tokenizer }, { ...config, maxLength: 256 }), take(3), toArray()),
  );
  const [had, has] = [share(heldout, before), share(heldout, after)].map((value) => value.toFixed(2));
  await writeFile(
    join(out, 'report.html'),
    report({
      title: 'A shop assistant in one minute',
      record: recorder.record(),
      facts: [
        ['exact match', `${had} → ${has}`],
        ['seconds', seconds.toFixed(0)],
      ],
      rows: rows.map((row) => tokensOfRow(row, (ids) => tokenizer.decode(ids))),
      answers: heldout.map(({ messages }, i) => ({
        prompt: messages[0].content,
        expected: messages[1].content,
        before: before[i],
        after: after[i],
      })),
    }),
  );
  console.log(`\nwritten to ${out}: adapter, model, report.html\nexact match: ${had} -> ${has}`);
  return Number(has) >= 0.9;
};

main().then(
  (learned) => process.exit(learned ? 0 : 1),
  (error) => {
    console.error(isFatal(error) ? render(error) : error);
    process.exit(1);
  },
);
