/** What `sft` shows of a run: its beginning, its progress and what happens on the way, its end. */
import { reasonsText } from '../streams/rejects.js';
import { sourceLines } from '../train/preparing/sourceCounts.js';
import type { Begun, RunSummary } from '../train/run/run.js';
import type { SftRun } from '../train/trainer.js';
import type { Terminal } from './command.js';
import { duration, makeProgress } from './progress.js';
import type { Progress } from './progress.js';
import { tellWarning } from './tell.js';
import { counted } from '../formats/counted.js';

const count = (value: number): string => value.toLocaleString('en-US');

const toldAtStart = ({
  plan,
  trainSummary,
  fromCache,
  resumedAt,
  trainableParameters,
  totalParameters,
}: Begun): string =>
  [
    `training ${count(trainableParameters)} of ${count(totalParameters)} parameters`,
    ...(trainSummary.rows === 0
      ? []
      : [
          `rows: ${count(trainSummary.rows)} from ${count(trainSummary.rowsRead)} read, ` +
            `${count(trainSummary.rejected)} refused, ${count(trainSummary.truncated)} cut; ` +
            `${count(trainSummary.trainedTokens)} of ${count(trainSummary.tokens)} tokens trained`,
          ...(fromCache ? ['rows: prepared before, taken from the cache'] : []),
          ...sourceLines(trainSummary.perSource).map((line) => `  ${line}`),
        ]),
    `steps: ${count(plan.totalSteps)}${resumedAt === 0 ? '' : `, going on after ${count(resumedAt)}`}`,
    '',
  ].join('\n');

export const toldAtEnd = ({
  steps,
  trainLoss,
  seconds,
  tokensPerSecond,
  skippedSteps,
  rejected,
  rejectedByReason,
  ended,
  outputDir,
}: RunSummary): string =>
  [
    `${ended === 'early' ? 'stopped early' : 'done'}: ${counted(steps, 'step')} in ${duration(seconds)}, ` +
      `mean loss ${trainLoss.toFixed(4)}, ${count(Math.round(tokensPerSecond))} tokens/s`,
    ...(skippedSteps === 0 ? [] : [`skipped steps: ${count(skippedSteps)} (loss or gradient not finite)`]),
    ...(rejected === 0 ? [] : [`refused rows: ${count(rejected)} (${reasonsText(rejectedByReason)})`]),
    ...(outputDir === undefined ? [] : [`written to ${outputDir}`]),
    '',
  ].join('\n');

/** Shows what the run tells, until it ends. */
export const watch = (run: SftRun, { err }: Terminal): Promise<RunSummary> =>
  new Promise((resolve, reject) => {
    let progress: Progress | undefined;
    let summary: RunSummary | undefined;
    const note = (text: string): void => (progress === undefined ? void err.write(`${text}\n`) : progress.note(text));
    run.events.subscribe((event) => {
      switch (event.kind) {
        case 'begun':
          err.write(toldAtStart(event.begun));
          progress = makeProgress({ total: event.begun.plan.totalSteps, stream: err });
          return;
        case 'evaluation': {
          const { name, step, loss, perplexity, meanTokenAccuracy } = event.evaluation;
          note(
            `evaluation${name === undefined ? '' : ` ${name}`} at step ${step}: loss ${loss.toFixed(4)}, ` +
              `perplexity ${perplexity.toFixed(3)}, token accuracy ${meanTokenAccuracy.toFixed(4)}`,
          );
          return;
        }
        case 'checkpoint':
          note(`checkpoint ${event.checkpoint.dir}`);
          return;
        case 'pushed': {
          const { repo, commit, title } = event.pushed;
          note(`pushed to ${repo}: ${title} (${commit.url})`);
          return;
        }
        case 'warning':
          tellWarning({ write: (line) => note(line.trimEnd()) })(event.warning);
          return;
        case 'finished':
          summary = event.summary;
          return;
        case 'samples': {
          const { name, step, samples } = event.samples;
          const stopped = samples.filter((sample) => sample.stopped).length;
          note(
            `answers${name === undefined ? '' : ` ${name}`} at step ${step}: ${stopped} of ${samples.length} stopped by themselves, ` +
              `${samples.filter(({ exact }) => exact).length} as expected`,
          );
          return;
        }
        case 'step':
        case 'log':
          return;
      }
    });
    run.subscribe({
      next: (step) => progress?.step(step),
      error: (error: unknown) => {
        progress?.stop();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
      complete: () => {
        progress?.stop();
        if (summary === undefined) reject(new Error('the run ended without a summary'));
        else resolve(summary);
      },
    });
  });
