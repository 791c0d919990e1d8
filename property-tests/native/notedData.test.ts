/** What tfjs notes of data is found again wherever it lies. */
import { expect, it } from '@jest/globals';
import fc from 'fast-check';
import { NativeData } from '../../src/native/nativeData.js';
import { inTheData } from '../../src/native/notedData.js';

type Noted = NonNullable<NativeData['noted']>;

const calls = fc.array(
  fc.record({
    key: fc.nat(3),
    call: fc.constantFrom('set' as const, 'get' as const, 'has' as const, 'delete' as const),
  }),
);

it('a map that lies in the data is a weak map', () => {
  fc.assert(
    fc.property(calls, (sequence) => {
      const keys = [new NativeData(1, 1, 'float32', 1), new NativeData(2, 1, 'float32', 1), {}, { id: 3 }];
      const plain = new WeakMap<object, Noted>();
      const others = new WeakMap<object, Noted>();
      const map = inTheData(others);
      sequence.forEach(({ key: which, call }, i) => {
        const key = keys[which] ?? {};
        const noted = { bytes: i } as Noted;
        if (call === 'set') {
          plain.set(key, noted);
          expect(map.set(key, noted)).toBe(map);
        } else expect(map[call](key)).toBe(plain[call](key));
      });
      expect(keys.map((key) => others.has(key))).toEqual([
        false,
        false,
        plain.has(keys[2] ?? {}),
        plain.has(keys[3] ?? {}),
      ]);
    }),
  );
});
