import sys; sys.path.insert(0,'.')
import mllm_widgets as mw, numpy as np
from mllm_widgets.tracing import *
from tests.random_llava import *
from tests.reference import *
v=random_vlm(); q=random_question()
n=len(v.encode(q).tokens)
for pos in (0,n-1,(0,n-1),5):
    try:
        s=prepare_trace(v,q,corruption=EmbeddingNoise(1.0,1,positions=pos))
        pl=[s.text_positions[0],s.text_positions[-1],s.text_positions[3]]
        r=run_trace(s,modules=("mlp","residual")).restored.sel(token=pl)
        d=drawn(v,1.0,1,0,len(s.changed))
        print(pos,s.start,[np.abs(r.sel(module=m).values-reference_map(v,s,m,1,d,pl)).max() for m in ("mlp","residual")],s.clean,s.corrupted)
    except Exception as e: print(pos,type(e).__name__,str(e)[:300])
