/** What the core does without a model: policies read and checked. */

import { toGuardError } from './errors.ts';
import type { Instances, Lease } from './instance.ts';
import { parsePolicyText } from './local.ts';
import { type Reach, resolvePolicy } from './policy.ts';
import type { Finding, PolicyObject, PolicySource } from './types.ts';
import type { WasmModule } from './wasm.ts';

export class Tools {
  #instances: Instances;
  #reach: Reach;
  #lease: Promise<Lease> | undefined;

  constructor(instances: Instances, reach: Reach) {
    this.#instances = instances;
    this.#reach = reach;
  }

  async lintPolicy(text: string, fileName?: string): Promise<Finding[]> {
    return this.#use((module) => module.lintPolicy(text, fileName));
  }

  async parsePolicy(source: PolicySource): Promise<PolicyObject> {
    const text = await resolvePolicy(source, this.#reach);
    return this.#use((module) => parsePolicyText(module, text));
  }

  /** One instance serves all calls, for as long as it lives. */
  async #use<T>(work: (module: WasmModule) => T): Promise<T> {
    const leasing = (this.#lease ??= this.#instances.lease('cpu'));
    const forget = () => {
      if (this.#lease === leasing) this.#lease = undefined;
    };
    leasing.then((lease) => lease.onLost(forget), forget);
    const lease = await leasing;
    try {
      return work(lease.module);
    } catch (thrown) {
      const error = toGuardError(thrown);
      if (error.code === 'crashed') {
        forget();
        lease.discard(error);
      }
      throw error;
    }
  }
}
