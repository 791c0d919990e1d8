// Which test files begin first: the longest, so that none of them runs alone at the end. Where jest has timed them it knows;
// elsewhere (a fresh checkout) it would go by the size of the files, which says little of those that run models and programs.
import Sequencer from '@jest/test-sequencer';

/** Of a whole run, those that take longest, the longest first. */
const longest = [
  'test/model/goldenModels',
  'test/cli/commands',
  'property-tests/native/kernels',
  'property-tests/native/failingKernels',
  'test/examples/examples',
  'property-tests/model/kernels/gradients',
  'test/native/package',
  'test/docs',
  'property-tests/model/causalLm',
  'test/cli/badInput',
  'test/train/scenarios',
  'test/train/exportGgufAdapter',
  'property-tests/train/resume',
  'test/train/failingDisk',
  'property-tests/train/preparedCache',
];

export default class LongestFirst extends Sequencer {
  sort(tests) {
    const placeOf = ({ path, duration }) => {
      const place = longest.findIndex((name) => path.endsWith(`/${name}.test.ts`));
      return place === -1 || typeof duration === 'number' ? longest.length : place;
    };
    return super.sort(tests).toSorted((a, b) => placeOf(a) - placeOf(b));
  }
}
