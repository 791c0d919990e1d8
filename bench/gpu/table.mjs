/** The lines of bench/gpu.mjs as rows of a table. */
const columns = [
  'line',
  'tokens/s',
  'PyTorch',
  'ratio',
  'peak GiB',
  'PyTorch',
  'ratio',
  'of the rate',
  'PyTorch',
  'launches',
  'note',
];

const asRow = (cells) => `| ${cells.join(' | ')} |`;
const percent = (value) => (value === undefined ? '' : `${(100 * value).toFixed(1)} %`);

export const tableHead = `${asRow(columns)}\n${asRow(columns.map(() => '---'))}`;

/** Of a line that failed, why. What an emulated card takes of memory is not compared. */
export const tableRow = (found, dry) =>
  asRow(
    found.failed !== undefined
      ? [found.name, ...Array(9).fill(''), found.failed]
      : [
          found.name,
          found.ours.tokensPerSecond.toFixed(0),
          found.theirs?.tokensPerSecond.toFixed(0) ?? '',
          found.ratio?.toFixed(2) ?? '',
          found.ours.peakGiB.toFixed(2),
          found.theirs?.peakGiB.toFixed(2) ?? '',
          dry ? '' : (found.memory?.toFixed(2) ?? ''),
          percent(found.ours.share),
          percent(found.theirs?.share),
          found.launchesPerStep.toFixed(0),
          [
            found.cut,
            found.absent,
            found.refusedPerStep > 0 ? `${found.refusedPerStep} products a step without cublasLt` : undefined,
          ]
            .filter(Boolean)
            .join('; '),
        ],
  );
