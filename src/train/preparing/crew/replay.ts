/** Outcomes told again, in order, as if each row had passed the stages just now. */
import { Observable } from 'rxjs';
import type { OperatorFunction } from 'rxjs';
import type { Warning } from '../../../errors.js';
import { placeOfRow } from '../../../formats/datasets/sourced.js';
import type { Labelled, Tokenized } from '../../../records.js';
import { complete, placed, refuse } from '../../../streams/operator.js';
import { setOrigin } from '../../../streams/origin.js';
import type { Rejects } from '../../../streams/rejects.js';
import { untilLeft } from '../../../streams/untilLeft.js';
import type { Names } from '../rowNames.js';
import type { Outcome, Outcomes } from './outcome.js';

/** What a block comes to, one after the other: before its rows the names of its roles, if it has its own. */
export type Told = Outcome | { readonly names: ReadonlyArray<string> | undefined };

export const tellOutcomes = ({ rows, roles }: Outcomes, tellRoles: boolean): ReadonlyArray<Told> =>
  tellRoles ? [{ names: roles }, ...rows] : rows;

export interface ReplayOptions {
  /** Names behind `Outcome.saws`. */
  readonly stages: ReadonlyArray<string>;
  readonly rejects: Rejects | undefined;
  readonly warn: (warning: Warning) => void;
  readonly read: ((source: unknown) => void) | undefined;
  readonly tokenized: ((row: { readonly inputIds: { readonly length: number } }) => void) | undefined;
  readonly roles: Names | undefined;
}

/** Not a row as it came, or a text, whose `roles` are something else. */
const isTokenized = (record: unknown): record is Tokenized =>
  typeof record === 'object' && record !== null && 'roles' in record && ArrayBuffer.isView(record.roles);

/** Each block warns of these, where one pass over all rows would warn once. */
const onceAPass: ReadonlySet<string> = new Set(['W_NO_EOS']);

export const replay =
  ({ stages, rejects, warn, read, tokenized, roles }: ReplayOptions): OperatorFunction<Told, Labelled> =>
  (source) =>
    new Observable((out) => {
      const rejecting = { rejects };
      const once = new Set<string>();
      let index = 0;
      /** Of the block: names of its roles, and the numbers that those named so far have here. */
      let blockRoles: ReadonlyArray<string> = [];
      let numbers: Array<number> | undefined;

      const warnOf = (warning: Warning): void => {
        if (onceAPass.has(warning.code)) {
          if (once.has(warning.code)) return;
          once.add(warning.code);
        }
        warn(warning);
      };
      const numbered = <A extends Pick<Labelled, 'roles'>>(row: A): A =>
        numbers === undefined || row.roles === undefined
          ? row
          : { ...row, roles: row.roles.map((role) => numbers?.[role] ?? 0) };
      const tell = ({ source: row, saws, warned, tokens, roles: named, row: made, refused, bug }: Outcome): void => {
        const at = index++;
        const place = placeOfRow(row);
        while (numbers !== undefined && numbers.length <= named) {
          numbers.push(roles?.numberOf(blockRoles[numbers.length - 1] ?? '') ?? 0);
        }
        read?.(row);
        let next = 0;
        for (let saw = 1; saw <= saws; saw++) {
          rejects?.saw(stages[saw - 1] ?? '');
          while (next < warned.length && warned[next]?.after === saw) {
            const { warning } = warned[next] ?? {};
            if (warning !== undefined) warnOf(warning);
            next++;
          }
        }
        if (tokens >= 0) tokenized?.({ inputIds: { length: tokens } });
        if (bug !== undefined) out.error(bug);
        else if (refused !== undefined) {
          refuse(
            stages[saws - 1] ?? '',
            at,
            placed(refused.error, place),
            saws === stages.length && isTokenized(refused.record) ? numbered(refused.record) : refused.record,
            rejecting,
            out,
          );
        } else if (made !== undefined) {
          const own = numbered(made);
          setOrigin(own, at, place);
          out.next(own);
        }
      };
      untilLeft(source, out).subscribe({
        next: (told) => {
          if ('saws' in told) tell(told);
          else {
            blockRoles = told.names ?? [];
            numbers = told.names === undefined ? undefined : [0];
          }
        },
        error: (error: unknown) => out.error(error),
        complete: () => complete(rejecting, out),
      });
    });
