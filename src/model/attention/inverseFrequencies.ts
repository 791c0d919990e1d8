/** Which angles each position turns by, under every scaling that config.json may ask for. */
import type { RopeConfig } from './ropeConfig.js';
import type { Frequencies } from './rotaryTable.js';

/** Angle a position, for each of the rotaryDim / 2 pairs; and what cos and sin are multiplied by. */
export const inverseFrequencies = (config: RopeConfig, length: number): Frequencies => {
  const { frequencies, magnitude } = forwards(config, length);
  return { frequencies: config.backwards === true ? frequencies.map((f) => -f) : frequencies, magnitude };
};

const forwards = ({ theta, rotaryDim, maxPositions, scaling }: RopeConfig, length: number): Frequencies => {
  const half = rotaryDim / 2;
  const base = (root: number): Float64Array =>
    Float64Array.from({ length: half }, (_, i) => root ** ((-2 * i) / rotaryDim));
  switch (scaling.kind) {
    case 'default':
      return { frequencies: base(theta), magnitude: 1 };
    case 'linear':
      return { frequencies: base(theta).map((f) => f / scaling.factor), magnitude: 1 };
    case 'proportional':
      return {
        frequencies: base(theta).map((f, i) => (i < scaling.turning ? f / scaling.factor : 0)),
        magnitude: 1,
      };
    case 'dynamic': {
      // NTK-aware: past the trained length the base grows with the length at hand.
      const longest = Math.max(length, maxPositions);
      const stretched = (scaling.factor * longest) / maxPositions - (scaling.factor - 1);
      return { frequencies: base(theta * stretched ** (rotaryDim / (rotaryDim - 2))), magnitude: 1 };
    }
    case 'llama3': {
      const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions: original } = scaling;
      return {
        frequencies: base(theta).map((f) => {
          const wavelength = (2 * Math.PI) / f;
          if (wavelength < original / high) return f;
          if (wavelength > original / low) return f / factor;
          const smooth = (original / wavelength - low) / (high - low);
          return ((1 - smooth) * f) / factor + smooth * f;
        }),
        magnitude: 1,
      };
    }
    case 'yarn': {
      // Peng et al. 2023, as transformers writes it.
      const { factor, originalMaxPositions: original, betaFast, betaSlow, truncate } = scaling;
      const turns = (rotations: number): number =>
        (rotaryDim * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
      const low = Math.max(truncate ? Math.floor(turns(betaFast)) : turns(betaFast), 0);
      const high = Math.min(truncate ? Math.ceil(turns(betaSlow)) : turns(betaSlow), rotaryDim - 1);
      const span = high === low ? 0.001 : high - low;
      return {
        frequencies: base(theta).map((f, i) => {
          const interpolated = Math.min(1, Math.max(0, (i - low) / span));
          return (f / factor) * interpolated + f * (1 - interpolated);
        }),
        magnitude: scaling.attentionFactor,
      };
    }
    case 'longrope': {
      const factors = length > scaling.originalMaxPositions ? scaling.longFactors : scaling.shortFactors;
      return { frequencies: base(theta).map((f, i) => f / (factors[i] ?? 1)), magnitude: scaling.attentionFactor };
    }
  }
};
