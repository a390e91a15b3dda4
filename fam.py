import sys; sys.path.insert(0,'.')
import mllm_widgets as mw, numpy as np, importlib
from tests.reference import reference_map
def go(name,vlm,q):
    try:
        s=mw.tracing.prepare_trace(vlm,q,corruption="Taj Mahal",control="text-only")
        r=mw.tracing.run_trace(s,modules=("mlp",)).restored.values[0]
        w=reference_map(vlm,s,"mlp",1)
        print(name,"diff",np.abs(r-w).max(),"spread",np.ptp(w))
    except Exception as e: print(name,type(e).__name__,str(e)[:300])
from tests.families import random_qwen as rq, random_internvl as ri
from tests.random_llava import random_vlm, random_question
for n in ("qwen2","qwen2_5","qwen3"):
    k=[b for b in rq.BUILDERS if n in b.lower().replace("-","").replace(".","_") ]
for n in rq.BUILDERS: go(n,rq.random_qwen(n),rq.random_question())
try: go("internvl",ri.random_internvl(),rq.random_question())
except Exception as e: print(e)
v=random_vlm()
for t,c in (("Which tool would help to open this box","this box"),("Where was this old bridge built","this old bridge"),("The colour of this animal is","this animal"),("In this place the wide river is","this place"),("What is this old bridge","this old bridge")):
  for k in ("Taj Mahal",mw.tracing.EmbeddingNoise(2.0,1),mw.tracing.RepeatedToken("river")):
    s=mw.tracing.prepare_trace(v,random_question(t,c),corruption=k,control="text-only")
    e=np.abs(mw.tracing.run_trace(s).indirect_effect).max(("layer","token")).values
    print(t,type(k),s.clean,s.corrupted,e)
